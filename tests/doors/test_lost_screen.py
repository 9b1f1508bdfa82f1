"""Whatever becomes of the picture, the run behind it goes on, and the exit code is the run's."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest

from sopwith.doors.cli.display import Display, Expendable

from .workshop import DEADLINE_SECS, SOP, Workshop


def shell(workshop: Workshop, words: str) -> subprocess.CompletedProcess[str]:
    """The command with redirections, and with buffers: what cannot be written is found out late."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["bash", "-c", f"{shlex.join(SOP)} {words}"],
        cwd=workshop.root,
        env=environ,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECS,
    )


@pytest.fixture
def two(workshop: Workshop) -> Workshop:
    workshop.steps("two", "One | echo one", "?Two | echo two; echo two >> done", "Break | exit 7")
    return workshop


LOST = ["> /dev/full", ">&-", "> /dev/full 2>&1", ">&- 2>&-", ">&- 2>&- <&-", "--json > /dev/full", "2>&-"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("streams", LOST)
def test_a_run_that_cannot_be_shown_is_driven_all_the_same(two: Workshop, streams: str) -> None:
    assert shell(two, f"run two {streams}").returncode == 3
    run = two.run_id("two")
    assert two.json("status", run)["status"] == "awaiting_approval"
    done = shell(two, f"approve {run} {streams}")
    assert (done.returncode, done.stderr) == (4, "")
    assert two.json("status", run)["status"] == "failed"
    assert (two.root / "done").read_text() == "two\n"


def test_a_refusal_that_cannot_be_shown_keeps_its_exit_code(two: Workshop) -> None:
    for streams in ("2> /dev/full", "2>&-", "--json > /dev/full", "--json >&-"):
        assert shell(two, f"status sop_run_nobody {streams}").returncode == 6, streams


def test_what_only_looks_tells_that_it_could_not_show(two: Workshop) -> None:
    done = shell(two, "list > /dev/full")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


class Broken(Display):
    """Fails at everything and counts it."""

    failures = 0

    def note(self, words: str) -> None:
        self.failures += 1
        raise ValueError(words)


def test_a_display_that_fails_once_is_asked_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    broken = Broken()
    display = Expendable(broken)
    for _ in range(3):
        display.note("words")
    assert broken.failures == 1
    assert capsys.readouterr().err == "nothing more is shown (ValueError: words); the run goes on\n"


class Cancelled(Display):
    def tick(self) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_is_no_failure_of_the_display() -> None:
    with pytest.raises(KeyboardInterrupt):
        Expendable(Cancelled()).tick()
