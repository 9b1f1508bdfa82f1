"""The generated part of docs/concepts/states.md, from the table of legal moves."""

from __future__ import annotations

from sopwith.core import commands as cmd
from sopwith.core.moves import MOVES
from sopwith.core.run import RunStatus
from tools.markdown import code, table

_ONLY_AGAIN = (RunStatus.PAUSED, RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)
_FINAL = (RunStatus.COMPLETED, RunStatus.CANCELLED)


_ARROWS = (
    "Arrows that lead back to the same status are left out. `Admit`, `OpenGate`, `Start`, `Finish`, `Interrupt`, "
    "`Halt` and `Expire` come from the driver; the others from a person or an agent."
)
_MARKS = (
    "✔ is legal. = is legal only as the same answer again to a gate that is named with `--step` or `--digest`; it "
    "changes nothing. Everything else is refused with one sentence, and changes nothing."
)


def states_part() -> str:
    return "\n\n".join([f"```mermaid\n{diagram()}\n```", _ARROWS, "## Which command is legal when", _MARKS, matrix()])


def diagram() -> str:
    """A Mermaid state diagram: one arrow for each pair of statuses, labelled with all commands that lead along it."""
    labels: dict[tuple[RunStatus, RunStatus], list[str]] = {}
    for (status, command), move in MOVES.items():
        for to in move.to:
            if to is not status:
                labels.setdefault((status, to), []).append(command.__name__)
    lines = ["stateDiagram-v2", "    [*] --> pending", "    [*] --> waiting_approval", "    [*] --> running"]
    lines += [f"    {status} --> {to}: {', '.join(names)}" for (status, to), names in labels.items()]
    lines += [f"    {status} --> [*]" for status in _FINAL]
    return "\n".join(lines)


def matrix() -> str:
    """Commands down, statuses across."""
    commands = list(dict.fromkeys(command for _status, command in MOVES))
    commands.sort(key=lambda command: not issubclass(command, cmd.PersonCommand))
    rows = [[code(command.__name__), *(_cell(status, command) for status in RunStatus)] for command in commands]
    return table(["", *(code(status.value) for status in RunStatus)], rows)


def _cell(status: RunStatus, command: type[cmd.Command]) -> str:
    move = MOVES.get((status, command))
    if move is None:
        return ""
    return "=" if status in _ONLY_AGAIN and issubclass(command, cmd.Answer) else "✔"
