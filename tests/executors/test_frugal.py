"""What a step costs beside its own process: as few calls of the kernel as do, and none that gives less."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from sopwith.executors import keeper, spool, watch
from sopwith.executors.launch import write_private
from sopwith.executors.shell import find_program
from sopwith.testing.contract_executor import ok, run

from .bench import executor, order


def test_a_file_is_read_to_its_end_however_many_readings_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the kernel's, such as cgroup.procs, gives a page at a time."""
    file = tmp_path / "cgroup.procs"
    file.write_text("".join(f"{number}\n" for number in range(1000)))
    real = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: real(descriptor, min(size, 100)))
    assert keeper.lines_of(str(file)) == [str(number) for number in range(1000)]
    assert keeper.lines_of(str(tmp_path / "there is none")) == []


def test_a_file_is_written_whole_however_many_writings_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    write_private(tmp_path / "script", b"echo hello\n" * 5)
    monkeypatch.undo()
    assert (tmp_path / "script").read_bytes() == b"echo hello\n" * 5
    assert (tmp_path / "script").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "script", b"")


@pytest.mark.parametrize("part", ["{bin}", "{bin}/", "{bin}/.", "//{bin}//", "bin", "./bin", "none:{bin}", ":bin"])
def test_a_program_is_named_alike_however_its_path_is_spelt(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    tool = folder / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    path = part.format(bin=folder)
    first = next(each for each in path.split(":") if (tmp_path / each / "tool").is_file())
    assert find_program("tool", path, tmp_path) == str(tmp_path / first / "tool")


def test_a_log_that_only_gets_its_name_takes_no_thread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []
    real = asyncio.to_thread

    async def noted(*given: Any) -> Any:
        threads.append(given)
        return await real(*given)

    monkeypatch.setattr(watch.asyncio, "to_thread", noted)

    async def story(text: str, name: str) -> None:
        (folder / name).mkdir()
        work = order(folder / name, text)
        ok(await (await executor().start(work, lambda _: None)).wait())
        assert (work.folder / "output.log").exists()

    run(story("echo short", "one"))
    assert not threads
    monkeypatch.setattr(spool, "LOG_HALF_BYTES", 1)
    run(story("echo long", "two"))
    assert len(threads) == 1
