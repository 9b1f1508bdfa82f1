"""Commands as channels: real processes, with the message on stdin, that end in time with all that they started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sopwith.clock import SystemClock
from sopwith.core.messages import Message
from sopwith.core.notifications import ChannelConfig
from sopwith.errors import NotSent
from sopwith.notify import command
from sopwith.ports import Premises

MESSAGE = Message(id="notice_1", title="Paused: deploy", text="Zürich", document={"moment": "onRunPaused"})


def made(root: Path, *words: str) -> Any:
    channel = ChannelConfig(kind="command", command=words)
    return command.KIND.make(channel, Premises(environ=dict(os.environ), root=root, now=SystemClock().now))


def why_not(root: Path, *words: str) -> str:
    with pytest.raises(NotSent) as caught:
        made(root, *words).send(MESSAGE)
    return caught.value.message


def test_a_command_reads_the_message_in_the_project_folder(tmp_path: Path) -> None:
    assert made(tmp_path, "sh", "-c", "cat > got; echo thanks").send(MESSAGE) == "exit code 0: thanks"
    assert json.loads((tmp_path / "got").read_text()) == {
        "id": "notice_1",
        "title": "Paused: deploy",
        "text": "Zürich",
        "tone": "news",
        "document": {"moment": "onRunPaused"},
    }


def test_each_message_is_a_line(tmp_path: Path) -> None:
    command = made(tmp_path, "tee", "-a", "got")
    command.send(MESSAGE)
    command.send(MESSAGE)
    lines = (tmp_path / "got").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["notice_1"] * 2


def test_it_decides_nothing_as_a_person(tmp_path: Path) -> None:
    assert made(tmp_path, "sh", "-c", "echo $SOPWITH_ACTOR_KIND").send(MESSAGE) == "exit code 0: agent"


def test_its_words_are_read_by_no_shell(tmp_path: Path) -> None:
    assert made(tmp_path, "echo", "$(id)", ";", "*").send(MESSAGE) == "exit code 0: $(id) ; *"


def test_a_failure_is_told_with_its_last_line_harmless(tmp_path: Path) -> None:
    told = why_not(tmp_path, "sh", "-c", "echo first; printf 'no \\033[31m<way>\\n\\n' >&2; exit 7")
    assert told == "exit code 7: no \\u{001b}[31m\\u{003c}way>"
    assert why_not(tmp_path, "sh", "-c", "kill -9 $$") == "it was ended by signal 9"


def test_one_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    assert why_not(tmp_path, "no-such-program") == "no-such-program cannot be started: No such file or directory"


def test_one_that_does_not_read_and_says_very_much_is_fine(tmp_path: Path) -> None:
    told = made(tmp_path, sys.executable, "-c", "print('x' * 5_000_000)").send(MESSAGE)
    assert len(told) < 300


def test_one_that_goes_on_is_ended_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LIMIT_SECS", 1.0)
    script = "sleep 300 & echo $! >> pids; setsid sh -c 'echo $$ >> pids; exec sleep 300' & echo waiting; wait"
    assert why_not(tmp_path, "sh", "-c", script) == "it did not end within 1 s, and was ended: waiting"
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert [pid for pid in pids if _runs(pid)] == []


def test_what_it_leaves_in_the_background_holds_nothing_up(tmp_path: Path) -> None:
    assert made(tmp_path, "sh", "-c", "sleep 3 & echo done").send(MESSAGE) == "exit code 0: done"


def test_one_that_is_under_way_when_the_server_ends_is_ended_too(tmp_path: Path) -> None:
    code = (
        "import threading, time; from pathlib import Path; from tests.notify.test_command import MESSAGE, made\n"
        f"root = Path({str(tmp_path)!r}); words = 'echo $$ > pid.part; mv pid.part pid; sleep 300 & wait'\n"
        "send = lambda: made(root, 'sh', '-c', words).send(MESSAGE)\n"
        "threading.Thread(target=send, daemon=True).start()\n"
        "while not (root / 'pid').exists(): time.sleep(0.01)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert not _runs(int((tmp_path / "pid").read_text()))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
