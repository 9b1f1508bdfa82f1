"""Byte locks: one holder each, whatever its thread or process, on Linux and elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest

from sopwith.stores.locks import DescriptionLocks, ProcessLocks

Kind = type[DescriptionLocks] | type[ProcessLocks]
HOLDER = """
import sys
from pathlib import Path
from sopwith.stores import locks
held = getattr(locks, sys.argv[1])(Path(sys.argv[2]))
print(held.acquire(7), flush=True)
sys.stdin.readline()
"""


@pytest.fixture(params=[DescriptionLocks, ProcessLocks])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks"


def test_a_byte_has_one_holder(kind: Kind, path: Path) -> None:
    one, other = kind(path), kind(path)
    assert one.acquire(7)
    assert not other.acquire(7)
    assert not one.acquire(7)
    assert other.is_held(7)
    assert one.is_held(7)


def test_other_bytes_are_free(kind: Kind, path: Path) -> None:
    one, other = kind(path), kind(path)
    assert one.acquire(7)
    assert not other.is_held(6)
    assert not other.is_held(8)
    assert other.acquire(2**40)


def test_a_released_byte_is_free_and_the_others_stay(kind: Kind, path: Path) -> None:
    one, other = kind(path), kind(path)
    assert one.acquire(7)
    assert one.acquire(8)
    one.release(7)
    assert other.acquire(7)
    assert not other.acquire(8)


def test_to_release_what_another_holds_does_nothing(kind: Kind, path: Path) -> None:
    one, other = kind(path), kind(path)
    assert one.acquire(7)
    other.release(7)
    assert other.is_held(7)


def test_closing_frees_all(kind: Kind, path: Path) -> None:
    one, other = kind(path), kind(path)
    assert one.acquire(7)
    one.close()
    one.close()
    assert other.acquire(7)


def test_asking_takes_nothing(kind: Kind, path: Path) -> None:
    one, other = kind(path), kind(path)
    assert not one.is_held(7)
    assert other.acquire(7)


def test_a_killed_process_frees_its_bytes(kind: Kind, path: Path) -> None:
    locks = kind(path)
    argv = [sys.executable, "-c", HOLDER, kind.__name__, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "True"
        assert locks.is_held(7)
        assert not locks.acquire(7)
        process.kill()
        process.wait()
    assert not locks.is_held(7)
    locks.wait(7)
    assert kind(path).is_held(7)


@pytest.fixture(autouse=True)
def forget_process_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessLocks, "_fds", {})
    monkeypatch.setattr(ProcessLocks, "_taken", set())


def test_those_who_share_a_byte_keep_out_only_who_wants_it_alone(kind: Kind, path: Path) -> None:
    first, second, third = kind(path), kind(path), kind(path)
    first.share(7)
    if isinstance(first, DescriptionLocks):  # POSIX locks do not tell the holders of one process apart
        second.share(7)
        assert not third.acquire(7)
        second.release(7)
        assert not third.acquire(7)
    first.release(7)
    assert third.acquire(7)


def test_all_bytes_from_one_on_are_taken_at_once_or_not_at_all(kind: Kind, path: Path) -> None:
    first, second, third = kind(path), kind(path), kind(path)
    assert first.acquire(9)
    assert not second.acquire_from(3)
    first.release(9)
    assert first.acquire(2)
    assert second.acquire_from(3)
    if isinstance(first, DescriptionLocks):
        assert not third.acquire(9000)
        assert third.acquire(1)
    second.close()


def test_a_file_that_was_deleted_or_replaced_is_not_where_others_look(kind: Kind, path: Path) -> None:
    held = kind(path)
    assert held.acquire(7)
    assert held.is_named()
    path.unlink()
    assert not held.is_named()
    path.touch()
    assert not held.is_named()
