"""Output is there at every moment: an attempt that ends between two looks turns its spool into its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from sopwith.engine.outputs import Output, open_output, output_of, size_of


@pytest.fixture(params=["spool", "masked"])
def ended_since(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the output of an attempt was found, which has ended then."""
    launch = tmp_path / "run" / "step-1.1.1" / "0"
    launch.mkdir(parents=True)
    (launch / request.param).write_bytes(b"hello\n")
    if request.param == "masked":
        (launch / "given").touch()
    found = output_of(launch.parent)
    assert found == launch / request.param
    found.replace(launch.parent / "output.log")
    return found


def test_its_length_is_that_of_the_log(ended_since: Path) -> None:
    assert Output(1, False, ended_since).size_bytes == 6


def test_what_is_read_is_the_log(ended_since: Path) -> None:
    file = open_output(ended_since, ended_since.parents[2])
    assert file is not None
    with file:
        assert file.read() == b"hello\n"


def test_what_is_gone_altogether_is_none(tmp_path: Path) -> None:
    gone = tmp_path / "step-1.1.1" / "0" / "spool"
    assert (size_of(gone), size_of(None), open_output(gone, tmp_path)) == (0, 0, None)


def test_a_log_that_leads_out_is_no_output(ended_since: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    log = ended_since.parents[1] / "output.log"
    log.unlink()
    log.symlink_to(tmp_path / "secret")
    assert open_output(ended_since, tmp_path / "run") is None
