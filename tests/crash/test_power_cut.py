"""After a power cut: what was acknowledged is there, and no step is started again or believed to have ended."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import apsw
import pytest
from tools.crash import power

from executors.bench import executor, order
from sopwith.clock import boot_id
from sopwith.core.commands import StepResult
from sopwith.executors import keeper
from sopwith.executors.launch import Launch
from sopwith.ports import Lost, WorkOrder
from sopwith.stores import opening

EARLIER = "the-boot-before"
DAMAGES = ("whole", "missing", "empty", "cut", "zeros")


def test_whatever_a_power_cut_leaves_of_the_database_all_that_was_acknowledged_is_there(tmp_path: Path) -> None:
    found = power.campaign(tmp_path, subsets=1, every=11)
    assert found["breaches"] == {}
    assert found["survived"] == found["disks"] > 250
    assert found["acknowledged"] > 50


def test_a_store_that_synced_less_would_be_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = opening._prepare

    def lax(db: apsw.Connection, path: Path, *, set_up: bool) -> bool:
        done = prepare(db, path, set_up=set_up)
        db.pragma("synchronous", "normal")
        return done

    monkeypatch.setattr(opening, "_prepare", lax)
    found = power.campaign(tmp_path, subsets=1, every=11)
    assert any("are gone" in line for lines in found["breaches"].values() for line in lines)


def test_a_sector_that_was_not_synced_may_be_lost_and_a_later_one_kept() -> None:
    written = [
        power.Written("a", "write", 0, b"x" * 1024),
        power.Written("a", "sync"),
        power.Written("a", "write", 0, b"y" * 1024),
        power.Written("b", "write", 0, b"z"),
        power.Written("b", "delete"),
    ]
    answers = iter([False, True, True, False])
    assert power.disk_after(written, lambda: next(answers)) == {"a": b"x" * 512 + b"y" * 512, "b": b"z"}


@pytest.fixture
def ran(tmp_path: Path) -> WorkOrder:
    """An attempt that ran to its end before the power went, as its keeper has left it; `kept` is a copy of it."""
    work = order(tmp_path, 'echo once >> "$STARTS"; echo hello; echo a=1 >> "$SOP_OUTPUT"')
    launch = Launch(work.folder / "0")
    executor()._prepare(work, launch)
    subprocess.run([sys.executable, "-I", "-S", keeper.__file__, str(launch.folder)], check=True)
    started = launch.folder / "started"
    started.write_text(started.read_text().replace(boot_id(), EARLIER))
    shutil.copytree(work.folder, tmp_path / "kept")
    return order(tmp_path, work.step.script.text, intended_boot=EARLIER)


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    match how:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "zeros":
            path.write_bytes(bytes(len(data)))


def recovered(work: WorkOrder) -> StepResult | Lost:
    async def recover() -> StepResult | Lost:
        found = await executor().recover(work, lambda _: None)
        return found if isinstance(found, Lost) else await found.wait()

    return asyncio.run(recover())


def test_a_step_whose_mark_or_result_a_power_cut_took_is_interrupted_and_never_started_again(
    ran: WorkOrder, tmp_path: Path
) -> None:
    for mark, result, spool in product(DAMAGES, DAMAGES, ("whole", "missing", "cut")):
        shutil.rmtree(ran.folder)
        shutil.copytree(tmp_path / "kept", ran.folder)
        for name, how in (("started", mark), ("result", result), ("spool", spool)):
            damage(ran.folder / "0" / name, how)
        told = recovered(ran)
        assert (tmp_path / "starts").read_text() == "once\n", (mark, result, spool)
        if result == "whole" and isinstance(told, StepResult):
            # it is what the keeper had written, and true
            assert (told.exit_code, told.outputs) == (0, {"a": "1"}), (mark, spool)
        else:
            assert isinstance(told, Lost), (mark, result, spool)
            # nor does a second look find anything else
            assert isinstance(recovered(ran), Lost), (mark, result, spool)


@pytest.mark.parametrize("left", ["no launch", "an empty launch", "no folder"])
def test_an_attempt_of_which_a_power_cut_left_no_file_is_interrupted(ran: WorkOrder, tmp_path: Path, left: str) -> None:
    shutil.rmtree(ran.folder if left == "no folder" else ran.folder / "0")
    if left == "an empty launch":
        (ran.folder / "0").mkdir()
    for _ in range(2):
        assert isinstance(recovered(ran), Lost)
    assert (tmp_path / "starts").read_text() == "once\n"
