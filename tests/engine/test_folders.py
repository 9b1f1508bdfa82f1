"""Filesystem triggers: real files, links and changes at the worst moment."""

import asyncio
import contextlib
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sopwith.core.globs import fixed_folder, matches, may_hold, pattern_mistake
from sopwith.engine.sources import _MOST_READ
from sopwith.engine.triggering import POLL_SECS
from sopwith.triggers.folder import FileFolder
from sopwith.triggers.watching import FileWatcher

from .bench import Bench
from .triggers import Desk


@pytest.fixture
def folder(bench: Bench) -> Path:
    made = bench.workspace.root / "incoming"
    made.mkdir()
    return made


def watching(bench: Bench, path: str = "incoming/*.csv", **keys: Any) -> Desk:
    bench.procedure("load", {}, triggers=[{"type": "filesystem", "path": path, **keys}])
    desk = Desk(bench, files=True).begin()
    desk.look()
    return desk


def settle(desk: Desk, seconds: float = 1) -> list[tuple[str, str]]:
    """Looks, waits until what changed has settled, and looks again; tells what has come of it."""
    before = len(desk.outcomes)
    desk.look()
    desk.bench.pass_time(seconds)
    desk.look()
    runs = [run.event for run in desk.runs() if run.event is not None]
    return [(event["path"], event["change"]) for event in runs[before:]]


def test_what_was_there_before_the_trigger_starts_nothing(bench: Bench, folder: Path) -> None:
    (folder / "old.csv").write_text("old")
    desk = watching(bench)
    assert settle(desk) == []
    (folder / "old.csv").write_text("changed now")
    assert settle(desk) == [("incoming/old.csv", "modified")]


def test_a_new_file_starts_a_run_with_its_name_and_digest(bench: Bench, folder: Path) -> None:
    desk = watching(bench)
    (folder / "a.csv").write_text("1,2")
    (folder / "a.txt").write_text("1,2")
    (folder / ".b.csv").write_text("1,2")
    assert settle(desk) == [("incoming/a.csv", "created")]
    event = desk.runs()[0].event
    assert event is not None
    assert (event["name"], event["size"]) == ("a.csv", 3)
    assert event["sha256"] == hashlib.sha256(b"1,2").hexdigest()


def test_a_file_counts_when_it_has_stayed_the_same(bench: Bench, folder: Path) -> None:
    desk = watching(bench, settleSecs=5)
    for size in range(1, 4):
        (folder / "a.csv").write_text("x" * size)
        desk.look()
        bench.pass_time(4)
        desk.look()
        assert desk.runs() == []
    bench.pass_time(5)
    desk.look()
    [run] = desk.runs()
    assert run.event is not None
    assert run.event["size"] == 3


def test_a_file_that_changes_while_it_is_read_has_to_settle_anew(bench: Bench, folder: Path) -> None:
    desk = watching(bench)
    (folder / "a.csv").write_text("half")
    desk.look()
    bench.pass_time(1)
    real = FileFolder.digest

    def written_meanwhile(self: FileFolder, path: str, stamp: Any) -> Any:
        (folder / "a.csv").write_text("half, and the rest")
        return real(self, path, stamp)

    desk.triggering._folders._folder.digest = written_meanwhile.__get__(FileFolder(bench.workspace.root))  # type: ignore[method-assign]
    desk.look()
    assert desk.runs() == []
    desk.triggering._folders._folder = FileFolder(bench.workspace.root)
    assert settle(desk) == [("incoming/a.csv", "created")]
    event = desk.runs()[0].event
    assert event is not None
    assert event["size"] == len("half, and the rest")


def test_changes_and_deletions_count_where_they_are_asked_for(bench: Bench, folder: Path) -> None:
    desk = watching(bench, events=["modified", "deleted"])
    (folder / "a.csv").write_text("1")
    assert settle(desk) == []
    (folder / "a.csv").write_text("2")
    assert settle(desk) == [("incoming/a.csv", "modified")]
    (folder / "a.csv").touch()
    (folder / "a.csv").chmod(0o600)
    assert settle(desk) == []
    (folder / "a.csv").unlink()
    assert settle(desk) == [("incoming/a.csv", "deleted")]
    assert settle(desk) == []


def test_a_file_that_is_replaced_was_changed_and_not_deleted(bench: Bench, folder: Path) -> None:
    desk = watching(bench, events=["created", "modified", "deleted"])
    (folder / "a.csv").write_text("1")
    settle(desk)
    (folder / "a.csv").unlink()
    desk.look()
    (folder / "a.tmp").write_text("2")
    (folder / "a.tmp").rename(folder / "a.csv")
    assert settle(desk) == [("incoming/a.csv", "modified")]


def test_the_same_file_brought_again_counts_again(bench: Bench, folder: Path) -> None:
    desk = watching(bench)
    for _ in range(3):
        (folder / "a.csv").write_text("the same each day")
        os.utime(folder / "a.csv", (1, 1))
        assert settle(desk) == [("incoming/a.csv", "created")]
        (folder / "a.csv").unlink()
        assert settle(desk) == []


def test_no_link_is_followed(bench: Bench, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.csv").write_text("secret")
    desk = watching(bench, "incoming/**/*.csv")
    (folder / "link.csv").symlink_to(outside / "secret.csv")
    (folder / "below").symlink_to(outside)
    os.mkfifo(folder / "pipe.csv")
    (folder / "circle").symlink_to(folder)
    (folder / "folder.csv").mkdir()
    (folder / "real").mkdir()
    (folder / "real" / "a.csv").write_text("1")
    assert settle(desk) == [("incoming/real/a.csv", "created")]


@pytest.mark.parametrize("what", ["file", "folder", "top"])
def test_a_link_that_is_put_in_the_place_at_the_last_moment_is_not_read(
    bench: Bench, folder: Path, what: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "a.csv").write_text("1")
    (outside / "real").mkdir()
    (outside / "real" / "a.csv").write_text("1")
    (folder / "real").mkdir()
    (folder / "real" / "a.csv").write_text("1")
    reader = FileFolder(bench.workspace.root)
    [(path, stamp)] = reader.scan("incoming/**/*.csv").items()
    assert reader.digest(path, stamp) is not None
    swapped = {"file": folder / "real" / "a.csv", "folder": folder / "real", "top": folder}[what]
    swapped.rename(outside / "old")
    swapped.symlink_to({"file": outside / "a.csv", "folder": outside / "real", "top": outside}[what])
    # even with the very stamp of what the link leads to
    there = (outside / "real" / "a.csv") if what != "file" else outside / "a.csv"
    found = there.stat()
    led_to = type(stamp)(
        size=found.st_size, modified_ns=found.st_mtime_ns, changed_ns=found.st_ctime_ns, inode=found.st_ino
    )
    assert reader.digest(path, led_to) is None
    assert reader.scan("incoming/**/*.csv") == {}


def test_the_project_s_own_folder_is_never_watched(bench: Bench) -> None:
    desk = watching(bench, "**/*.json")
    (bench.workspace.sops / "new.json").write_text("{}")
    (bench.workspace.root / "a.json").write_text("{}")
    assert settle(desk) == [("a.json", "created")]
    (bench.workspace.root / ".pi" / "own.json").write_text("{}")
    (bench.workspace.root / ".other").mkdir()
    (bench.workspace.root / ".other" / "a.json").write_text("{}")
    assert set(FileFolder(bench.workspace.root).scan(".*/*.json")) == {".other/a.json"}


def test_a_burst_of_ten_thousand_files_loses_none_and_repeats_none(bench: Bench, folder: Path) -> None:
    """More come while it is being looked at; whoever tells of changes has long given up."""
    desk = watching(bench, "incoming/**/*.csv", condition="false")
    for number in range(10_000):
        sub = folder / str(number % 10)
        sub.mkdir(exist_ok=True)
        (sub / f"{number}.csv").write_text(str(number))
    looks = 0
    while len(desk.outcomes) < 10_000 and looks < 50:
        desk.look()
        bench.pass_time(1)
        looks += 1
    desk.look()
    assert len({each.delivery for each in desk.deliveries.newest(2**62, 20_000)}) == len(desk.outcomes) == 10_000
    assert looks <= 10_000 / _MOST_READ + 3


def test_a_server_that_dies_between_looks_forgets_no_file_and_repeats_none(bench: Bench, folder: Path) -> None:
    watching(bench)
    (folder / "a.csv").write_text("1")
    second = Desk(bench, files=True).begin()
    assert settle(second) == [("incoming/a.csv", "created")]
    third = Desk(bench, files=True).begin()
    (folder / "b.csv").write_text("1")
    settle(third)
    assert len(third.runs()) == 2


def test_two_servers_take_a_file_once(bench: Bench, folder: Path) -> None:
    one = watching(bench)
    two = Desk(bench, files=True).begin()
    two.look()
    (folder / "a.csv").write_text("1")
    for desk in (one, two):
        desk.look()
    bench.pass_time(1)
    for desk in (one, two):
        desk.look()
    assert len(one.runs()) == 1


def test_what_cannot_be_kept_is_told_again(bench: Bench, folder: Path) -> None:
    desk = watching(bench)
    (folder / "a.csv").write_text("1")
    desk.look()
    bench.pass_time(1)
    real = desk.triggering._deliveries

    class Full:
        def __getattr__(self, name: str) -> Any:
            if name == "accept":
                raise OSError("the disk is full")
            return getattr(real, name)

    desk.triggering._deliveries = Full()  # type: ignore[assignment]
    desk.look()
    assert desk.runs() == []
    desk.triggering._deliveries = real
    assert settle(desk) == [("incoming/a.csv", "created")]


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("in/*.csv", "in/a.csv", True),
        ("in/*.csv", "in/x/a.csv", False),
        ("in/*.csv", "in/.a.csv", False),
        ("in/.*.csv", "in/.a.csv", True),
        ("in/**/*.csv", "in/a.csv", True),
        ("in/**/*.csv", "in/x/y/a.csv", True),
        ("in/**/*.csv", "in/.x/a.csv", False),
        ("**/a", "a", True),
        ("**/x/**/a", "q/x/w/e/a", True),
        ("**/x/**/a", "q/w/e/a", False),
        ("in/[ab]?.csv", "in/a1.csv", True),
        ("in/[ab]?.csv", "in/c1.csv", False),
        ("in/a", "in/a/b", False),
    ],
)
def test_which_paths_a_pattern_matches(pattern: str, path: str, fits: bool) -> None:
    assert matches(pattern, path) is fits
    if fits and "/" in path:
        folders = path.split("/")[:-1]
        assert all(may_hold(pattern, "/".join(folders[:count])) for count in range(1, len(folders) + 1))


def test_a_pattern_tells_where_to_look() -> None:
    assert fixed_folder("in/x/*.csv") == "in/x"
    assert fixed_folder("in/**/a/*.csv") == "in"
    assert fixed_folder("*.csv") == ""
    assert not may_hold("in/*.csv", "in/x")
    assert not may_hold("in/*.csv", "out")
    pattern_mistake("a" + "/**" * 20 + "/b")
    assert not matches("a" + "/**" * 30 + "/b", "a/" + "x/" * 200 + "c")


def test_without_the_extra_folders_are_looked_through_more_often(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    watcher = FileWatcher(bench.workspace.root)
    assert watcher.watch([("incoming", True)], lambda: None) is False
    desk = watching(bench)
    assert desk.triggering._pause_secs == POLL_SECS


def test_the_kernel_tells_of_a_change_and_its_own_folder_is_left_out(tmp_path: Path) -> None:
    async def watch() -> list[str]:
        watcher, told = FileWatcher(tmp_path), asyncio.Event()
        (tmp_path / ".pi").mkdir()
        assert watcher.watch([("", True)], told.set) is True
        heard = []
        try:
            for attempt in range(10):
                (tmp_path / ".pi" / f"{attempt}").write_text("1")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(told.wait(), 0.05)
            heard.append("own" if told.is_set() else "")
            for attempt in range(600):
                (tmp_path / f"{attempt}").write_text("1")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(told.wait(), 0.05)
                    break
            heard.append("ours" if told.is_set() else "")
        finally:
            watcher.close()
        return heard

    assert asyncio.run(watch()) == ["", "ours"]


def test_a_name_that_is_not_utf_8_ends_no_watching(tmp_path: Path) -> None:
    async def heard(watcher: FileWatcher, told: asyncio.Event, name: bytes) -> bool:
        for _ in range(200):
            (tmp_path / os.fsdecode(name)).write_text("1")
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(told.wait(), 0.05)
        return False

    async def watch() -> list[bool]:
        watcher, told = FileWatcher(tmp_path), asyncio.Event()
        found = []
        try:
            watcher.watch([("", True)], told.set)
            for name in (b"a", b"b\xff", b"c", b"d\xff", b"e"):
                told.clear()
                found.append(await heard(watcher, told, name))
        finally:
            watcher.close()
        return found

    assert asyncio.run(watch()) == [True] * 5
