"""The view files follow the store, and are written anew when a crash or a hand left them behind it."""

import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sopwith.core.codec import view_line
from sopwith.errors import WorkspaceError
from sopwith.ports import Batch
from sopwith.stores.views import FileViews
from sopwith.testing.memory import MemoryStore
from sopwith.testing.samples import first_batch, next_batch

RUN = "sop_run_1"


class Workspace:
    """A store with one run, and its views."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryStore()
        self.views = FileViews(folder, self.store)
        self.log = folder / f"{RUN}.audit.jsonl"
        self.state = folder / f"{RUN}.json"
        self.last = self.store.create("deploy", lambda _: first_batch(RUN, count=2))

    def commit(self, count: int = 1) -> Batch:
        """A commit after which the process dies: no view knows of it."""
        batch = next_batch(self.last, count=count)
        self.store.append(RUN, self.last.summary.seq, batch)
        self.last = batch
        return batch

    def write(self, batch: Batch, run_json: Callable[[], bytes] | None = None) -> None:
        self.views.written(batch, run_json)

    @property
    def expected(self) -> bytes:
        return b"".join(view_line(event) for event in self.store.events(RUN))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "runs")
    workspace.write(workspace.last)
    return workspace


def test_each_commit_appends_its_lines(workspace: Workspace) -> None:
    before = workspace.log.read_bytes()
    inode = workspace.log.stat().st_ino
    workspace.write(workspace.commit(3))
    assert workspace.log.read_bytes().startswith(before)
    assert workspace.log.read_bytes() == workspace.expected
    assert workspace.log.stat().st_ino == inode, "it was appended to, not written anew"
    lines = [msgspec.json.decode(line) for line in workspace.log.read_bytes().splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5]


def test_the_same_batch_again_changes_nothing(workspace: Workspace) -> None:
    batch = workspace.commit()
    workspace.write(batch)
    workspace.write(batch)
    assert workspace.log.read_bytes() == workspace.expected


def test_files_are_for_their_owner_alone(workspace: Workspace) -> None:
    workspace.write(workspace.commit(), lambda: b"{}")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (workspace.log, workspace.state)} == {0o600}
    assert stat.S_IMODE(workspace.folder.stat().st_mode) == 0o700
    workspace.log.unlink()
    workspace.write(workspace.commit())
    assert stat.S_IMODE(workspace.log.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "harm",
    [
        lambda log: log.unlink(),
        lambda log: log.write_bytes(b""),
        lambda log: log.write_bytes(log.read_bytes()[:-1]),
        lambda log: log.write_bytes(log.read_bytes()[:-30]),
        lambda log: log.write_bytes(log.read_bytes().splitlines(keepends=True)[0]),
        lambda log: log.write_bytes(log.read_bytes() + b"garbage\n"),
        lambda log: log.write_bytes(log.read_bytes() + b"{}\n"),
        lambda log: log.write_bytes(log.read_bytes() + b"\n"),
    ],
    ids=["missing", "empty", "no newline", "torn", "line lost", "garbage", "no seq", "empty line"],
)
def test_a_log_that_does_not_end_before_the_batch_is_written_anew(
    workspace: Workspace, harm: Callable[[Path], object]
) -> None:
    harm(workspace.log)
    workspace.write(workspace.commit())
    assert workspace.log.read_bytes() == workspace.expected


def test_a_commit_that_no_view_saw_is_caught_up_with(workspace: Workspace) -> None:
    workspace.commit(2)
    workspace.write(workspace.commit())
    assert workspace.log.read_bytes() == workspace.expected


def test_a_log_that_shows_a_part_of_the_batch_is_written_anew(workspace: Workspace) -> None:
    batch = workspace.commit(3)
    with workspace.log.open("ab") as log:
        log.write(view_line(batch.events[0]))
    workspace.write(batch)
    assert workspace.log.read_bytes() == workspace.expected


def test_the_end_of_a_log_is_found_behind_very_long_lines(workspace: Workspace) -> None:
    long = msgspec.json.decode(workspace.last.events[-1].payload)
    for size in (4_000, 4_095, 4_096, 4_097, 300_000):
        line = msgspec.json.encode({**long, "details": {"output": "x" * size}})
        workspace.log.write_bytes(workspace.log.read_bytes().splitlines(keepends=True)[0] + line + b"\n")
        inode = workspace.log.stat().st_ino
        workspace.write(workspace.commit())
        shown = workspace.log.stat().st_ino == inode
        assert shown == (workspace.last.summary.seq == 3)


def test_two_writers_in_the_wrong_order_leave_all_events_and_the_later_state(workspace: Workspace) -> None:
    early, late = workspace.commit(), workspace.commit()
    workspace.write(late, lambda: b"late")
    workspace.write(early, lambda: b"early")
    assert workspace.log.read_bytes() == workspace.expected
    assert workspace.state.read_bytes() == b"late"


def test_the_state_is_written_only_when_asked_for(workspace: Workspace) -> None:
    workspace.write(workspace.commit())
    assert not workspace.state.exists()
    workspace.write(workspace.commit(), lambda: b'{"status":"paused"}')
    workspace.write(workspace.commit())
    assert workspace.state.read_bytes() == b'{"status":"paused"}'


def test_a_reader_never_sees_half_a_state(workspace: Workspace) -> None:
    workspace.write(workspace.commit(), lambda: b"old")
    with workspace.state.open("rb") as reader:
        workspace.write(workspace.commit(), lambda: b"new")
        assert reader.read() == b"old"
    assert sorted(path.name for path in workspace.folder.iterdir()) == [workspace.log.name, workspace.state.name]


def test_a_writer_has_the_folder_for_itself(workspace: Workspace) -> None:
    folder = os.open(workspace.folder, os.O_RDONLY)

    def run_json() -> bytes:
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return b"{}"

    workspace.write(workspace.commit(), run_json)
    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(folder)


def test_a_writer_that_keeps_the_folder_holds_up_no_other_for_long(workspace: Workspace) -> None:
    """One stopped by SIGSTOP, say: the others give up, and catch up once it is gone."""
    views = FileViews(workspace.folder, workspace.store, patience_secs=0.2)
    before = workspace.log.read_bytes()
    folder = os.open(workspace.folder, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    began = time.monotonic()
    views.written(workspace.commit(), lambda: b"{}")
    with pytest.raises(WorkspaceError, match="another process"):
        views.rebuild(RUN, lambda: b"{}")
    assert 0.4 <= time.monotonic() - began < 2
    assert workspace.log.read_bytes() == before
    os.close(folder)
    views.written(workspace.commit(), lambda: b"{}")
    assert workspace.log.read_bytes() == workspace.expected


def test_a_writer_waits_for_its_turn(workspace: Workspace) -> None:
    folder = os.open(workspace.folder, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    release = threading.Timer(0.1, os.close, [folder])
    release.start()
    workspace.write(workspace.commit())
    release.join()
    assert workspace.log.read_bytes() == workspace.expected


def test_what_cannot_be_written_raises_nothing(workspace: Workspace) -> None:
    workspace.log.unlink()
    workspace.log.mkdir()
    workspace.views.written(workspace.commit(), None)
    assert workspace.log.is_dir()
    workspace.log.rmdir()
    workspace.views.written(workspace.commit(), None)
    assert workspace.log.read_bytes() == workspace.expected


def test_a_store_that_is_closed_fails_no_view(workspace: Workspace) -> None:
    batch = workspace.commit()
    workspace.log.unlink()
    workspace.store.close()
    workspace.views.written(batch, None)
    assert not workspace.log.exists()


def test_a_link_in_the_place_of_the_draft_is_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (workspace.folder / f".{RUN}.json.draft").symlink_to(precious)
    workspace.views.written(workspace.commit(), lambda: b"{}")
    assert precious.read_text() == "mine"


def test_doctor_writes_anew_what_differs_and_says_so(workspace: Workspace) -> None:
    assert workspace.views.rebuild(RUN, lambda: b"{}")
    assert not workspace.views.rebuild(RUN, lambda: b"{}")
    workspace.log.write_bytes(workspace.log.read_bytes().replace(b"run_resumed", b"run_revised", 1))
    assert workspace.views.rebuild(RUN, lambda: b"{}")
    assert workspace.log.read_bytes() == workspace.expected
    assert workspace.views.rebuild(RUN, lambda: b'{"status":"failed"}')
    assert workspace.state.read_bytes() == b'{"status":"failed"}'


def test_doctor_looks_at_the_run_within_its_turn(workspace: Workspace) -> None:
    folder = os.open(workspace.folder, os.O_RDONLY)

    def run_json() -> bytes:
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return b"{}"

    assert workspace.views.rebuild(RUN, run_json)
    os.close(folder)


def test_doctor_leaves_a_state_alone_that_shows_no_rest(workspace: Workspace) -> None:
    workspace.write(workspace.commit(), lambda: b"at rest")
    workspace.write(workspace.commit())
    assert not workspace.views.rebuild(RUN, lambda: None)
    assert workspace.state.read_bytes() == b"at rest"
    workspace.log.unlink()
    assert workspace.views.rebuild(RUN, lambda: None)
    assert workspace.log.read_bytes() == workspace.expected


def test_doctor_tells_when_it_cannot_heal(workspace: Workspace) -> None:
    workspace.log.unlink()
    workspace.log.mkdir()
    with pytest.raises(WorkspaceError, match=RUN):
        workspace.views.rebuild(RUN, lambda: b"{}")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_write_the_views_of_one_run(workspace: Workspace) -> None:
    """Each of four forks appends its part when it gets its turn; the last to come fills what is missing."""
    batches = [workspace.commit() for _ in range(4)]
    children = []
    for batch in batches:
        child = os.fork()
        if child == 0:
            workspace.views.written(batch, lambda: b"{}")
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert workspace.log.read_bytes() == workspace.expected
