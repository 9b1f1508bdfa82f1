"""Who carries out the steps of one kind, and all that it may know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from sopwith.errors import Problem

if TYPE_CHECKING:
    from sopwith.core.commands import StepResult
    from sopwith.core.procedure import Step


class Confidential(msgspec.Struct, frozen=True, kw_only=True):
    """What must be neither kept nor shown: an executor masks it in all that it emits and leaves behind."""

    values: tuple[str, ...] = ()
    digest: str = ""
    """Tells whether these are the values that an attempt was started with; empty where it is given none."""


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """A command that config.json has, and where its program is: on this PATH, or from this folder."""

    command: tuple[str, ...]
    path: str
    root: Path


class AgentOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent's step takes besides: its command, and the text that it reads."""

    sought: Sought
    task: bytes


class WorkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """All an executor may know to carry out one attempt. Paths are absolute; parameters arrive only as data."""

    run_id: str
    name: str
    step: Step
    instance: str = ""
    """Which instance of the step, where it is done for each of several items."""
    visit: int
    attempt: int
    folder: Path
    """This attempt's own folder, made before the intent was recorded: without it nobody can know what became of it."""
    working_dir: Path
    environment: Mapping[str, str]
    """The whole environment of the process, SOP_* variables included."""
    parameters_json: bytes
    event_json: bytes | None = None
    """What happened outside and started the run, for the step to read; None where nothing did."""
    umask: int
    output_types: Mapping[str, str]
    confidential: Confidential = Confidential()
    withheld: str = ""
    """Why an attempt that never became a process must not become one now; what runs or has ended is still taken."""
    agent: AgentOrder | None = None
    """Of a step that an agent's command carries out."""
    verifies: int = 0
    """Not 0: it does not carry the attempt out, but finds out whether it was, the first time, or the second …; `folder`
    is its own, within the attempt's."""
    intended_boot: str
    """The boot in which the intent to start was recorded: marks of processes do not outlive a power cut."""
    this_boot: str


class Lost(msgspec.Struct, frozen=True):
    """The attempt was started, and nobody can know how it ended. `still_runs`: something that it started does."""

    reason: str
    output: str = ""
    still_runs: bool = False


class Watch(Protocol):
    """A started attempt."""

    def wait(self) -> Awaitable[StepResult | Lost]:
        """How the attempt ended, or Lost if its keeper died. Cancelling the wait leaves the process alone."""
        ...

    def stop(self) -> Awaitable[None]:
        """Ends the process and all it started: TERM, five seconds of grace, KILL. `wait` then tells the result."""
        ...


class Executor(Protocol):
    """Carries out one kind of step in a process of its own."""

    def start(self, order: WorkOrder, on_output: Callable[[bytes], None]) -> Awaitable[Watch]:
        """Starts the attempt, at most once ever for this order. Called right after its intent was recorded."""
        ...

    def recover(self, order: WorkOrder, on_output: Callable[[bytes], None]) -> Awaitable[Watch | Lost]:
        """Finds out what became of an attempt that a dead driver may have started.

        Goes on watching it, or takes its result (a Watch whose wait returns at once), or starts it if it provably
        never started, or tells that it is Lost.
        """
        ...


class Stray(msgspec.Struct, frozen=True, kw_only=True):
    """A living process of an attempt that nobody watches. `pid` and `started` name it for good."""

    run_id: str
    step: str
    visit: int
    attempt: int
    pid: int
    started: str
    command: str


class ExecutorKind(msgspec.Struct, frozen=True, kw_only=True):
    """How a kind of step registers itself: by name, with what it can do and how it is checked."""

    name: str
    needs_script: bool
    by_hand: bool = False
    """A person or an agent carries the step out; there is no Executor."""
    make: Callable[[], Executor] | None = None
    keeps_files: bool = True
    """Each attempt has a folder, which is made before its start is recorded: one that is missing was taken away."""
    check: Callable[[Step], Iterator[Problem]] | None = None
    locate: Callable[[Step, Mapping[str, str], Path], str | None] | None = None
    """Which program the step's environment and folder lead to, for the envelope; None if there is none."""
    locate_command: Callable[[Sought], str | None] | None = None
    """The same for a command that config.json has."""
    find_strays: Callable[[Path, Iterable[str]], tuple[Stray, ...]] | None = None
    """The strays in a folder of runs; these runs are searched more thoroughly."""
    end_strays: Callable[[Callable[[], tuple[Stray, ...]]], tuple[Stray, ...]] | None = None
    """Ends whatever is found, until nothing more is; tells what could not be ended. Blocks meanwhile."""


class ExecutorKinds(Protocol):
    """The kinds of steps that are installed here."""

    def kind(self, name: str) -> ExecutorKind:
        """The kind called `name`. Raises BadRequest if nothing registers it."""
        ...
