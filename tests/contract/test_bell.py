"""The bell's socket: heard by whoever serves, harmless where nobody does, and private."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sopwith.stores.bell import BELL, DatagramBell, DatagramEar

RUN = "sop_run_abcdefghijkl"
Words = list[tuple[str, bool]]


def heard(folder: Path, ring: object, *, until: int = 1) -> Words:
    """What an ear hears while `ring` is called, up to so many words."""
    words: Words = []

    async def listen() -> None:
        ear = DatagramEar(folder)
        enough = asyncio.Event()

        def hear(run_id: str, left: bool) -> None:
            words.append((run_id, left))
            if len(words) >= until:
                enough.set()

        ear.listen(hear)
        try:
            ring()  # type: ignore[operator]
            if until:
                await asyncio.wait_for(enough.wait(), 20)
            for _ in range(3):
                await asyncio.sleep(0)
        finally:
            ear.close()

    asyncio.run(listen())
    return words


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def say(folder: Path, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        for datagram in datagrams:
            mouth.sendto(datagram, str(folder / BELL))


def test_a_word_is_heard(tmp_path: Path) -> None:
    bell = DatagramBell(tmp_path)

    def ring() -> None:
        bell.ring(RUN)
        bell.ring(RUN, left=True)

    assert heard(tmp_path, ring, until=2) == [(RUN, False), (RUN, True)]


def test_where_nobody_listens_nothing_happens(tmp_path: Path) -> None:
    DatagramBell(tmp_path).ring(RUN)
    DatagramBell(tmp_path / "nowhere").ring(RUN)
    assert list(tmp_path.iterdir()) == []


def test_the_socket_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    modes = []
    before = os.umask(0)
    try:
        heard(tmp_path, lambda: modes.append(stat.S_IMODE((tmp_path / BELL).stat().st_mode)), until=0)
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert list(tmp_path.iterdir()) == []


def test_the_socket_of_a_killed_server_harms_nobody(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from sopwith.stores.bell import DatagramEar\n"
        "async def main():\n"
        "    DatagramEar(Path(sys.argv[1])).listen(print)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / BELL).is_socket()
    bell = DatagramBell(tmp_path)
    bell.ring(RUN)
    assert heard(tmp_path, lambda: bell.ring(RUN)) == [(RUN, False)]


def test_an_ear_that_ends_late_takes_no_other_ones_name_away(tmp_path: Path) -> None:
    """Its folder was removed and made anew, and another server listens there by now."""
    folder = tmp_path / "runs"
    folder.mkdir()

    async def listen() -> Words:
        words: Words = []
        late, other = DatagramEar(folder), DatagramEar(folder)
        late.listen(lambda *word: words.append(word))
        (folder / BELL).unlink()
        other.listen(lambda *word: words.append(word))
        late.close()
        try:
            DatagramBell(folder).ring(RUN)
            for _ in range(3):
                await asyncio.sleep(0)
        finally:
            other.close()
        return words

    assert asyncio.run(listen()) == [(RUN, False)]
    assert list(folder.iterdir()) == []


def test_a_deep_folder_has_a_bell(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8)
    deep.mkdir(parents=True)
    assert len(os.fsencode(deep)) > 150
    before = descriptors()
    assert heard(deep, lambda: DatagramBell(deep).ring(RUN)) == [(RUN, False)]
    assert not (deep / BELL).exists()
    assert descriptors() == before


def test_a_full_ear_makes_nobody_wait(tmp_path: Path) -> None:
    words = heard(tmp_path, lambda: [DatagramBell(tmp_path).ring(RUN) for _ in range(20_000)], until=1)
    assert 1 <= len(words) < 20_000


def test_a_listener_that_hangs_makes_nobody_wait(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / BELL))
        for _ in range(2000):
            DatagramBell(tmp_path).ring(RUN)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"x",
        b"sop_run_../../etc",
        b"sop_run_" + b"a" * 49,
        b"sop_run_abc\n",
        b"sop_run_abc left\0",
        b"sop_run_abc left left",
        b"\xff" * 65,
        b"sop_run_" + b"a" * 100_000,
    ],
)
def test_what_is_no_word_is_not_heard(tmp_path: Path, datagram: bytes) -> None:
    assert heard(tmp_path, lambda: say(tmp_path, datagram, RUN.encode())) == [(RUN, False)]


@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "link"])
def test_a_name_that_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / BELL
    elsewhere = tmp_path / "elsewhere"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(elsewhere))
        other.setblocking(False)
        {
            "file": path.touch,
            "folder": path.mkdir,
            "pipe": lambda: os.mkfifo(path),
            "link": lambda: path.symlink_to(elsewhere),
        }[kind]()
        DatagramBell(tmp_path).ring(RUN)
        with pytest.raises(BlockingIOError):
            other.recv(100)


def test_a_stream_socket_of_somebody_else_is_no_bell(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(tmp_path / BELL))
        other.listen()
        DatagramBell(tmp_path).ring(RUN)


def test_a_process_without_descriptors_left_goes_on(tmp_path: Path) -> None:
    script = (
        "import os, resource, sys\n"
        "from pathlib import Path\n"
        "from sopwith.stores.bell import DatagramBell\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) - 1,) * 2)\n"
        "DatagramBell(Path(sys.argv[1])).ring('sop_run_a')\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / BELL))
        subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / BELL).mkdir()
    with pytest.raises(OSError, match=r"directory|permitted"):
        heard(tmp_path, lambda: None)
