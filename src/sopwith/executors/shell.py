"""Shell steps: a script run by bash, sh or python3 in a process that outlives the engine (see `keeper.py`).

Importing this module must stay cheap, for it is the registration too: the watching half comes in when a step starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sopwith.core.address import step_id
from sopwith.core.procedure import Script, Step
from sopwith.errors import Conflict, Problem, Severity
from sopwith.ports import Executor, ExecutorKind, Lost, Stray, Watch, WorkOrder

if TYPE_CHECKING:
    from sopwith.executors.launch import Launch

INTERPRETERS: Mapping[str, tuple[str, ...]] = {"bash": ("-eo", "pipefail"), "sh": ("-e",), "python3": ()}
"""Interpreter -> the options it gets before the script's path."""

_OUT_OF_SIGHT = (
    "its keeper runs where it cannot be seen from here (another container?), so how the step ends is unknown"
)


class Work(NamedTuple):
    """What a launch runs, the script that it runs it on, and what it is given to read; None: nothing."""

    argv: tuple[str, ...]
    script: bytes = b""
    task: bytes | None = None


class ShellExecutor:
    """Runs the step's script. An attempt's folder gets `output.log` and one folder for each launch."""

    def __init__(self, *, grace_secs: float = 5.0, drain_secs: float = 0.2) -> None:
        """`grace_secs`: between TERM and KILL. `drain_secs`: how long a left-over may hold up the output's end."""
        self._grace_secs = grace_secs
        self._drain_secs = drain_secs

    async def start(self, order: WorkOrder, on_output: Callable[[bytes], None]) -> Watch:
        """Starts the attempt. Raises Conflict if its folder shows that somebody did before: that is to be recovered."""
        from sopwith.executors.keeper_process import NurseryLost
        from sopwith.executors.launch import launches
        from sopwith.executors.watch import Settled

        if launches(order.folder):
            raise _started_before(order)
        try:
            return self._launch(order, 0, on_output)
        except NurseryLost:  # as by an engine that was killed here
            found = await self.recover(order, on_output)
            return Settled(found) if isinstance(found, Lost) else found

    async def recover(self, order: WorkOrder, on_output: Callable[[bytes], None]) -> Watch | Lost:
        """Adopts the running step, takes its result, starts what provably never started, or tells that it is Lost."""
        from sopwith.executors.keeper_process import adopt_keeper
        from sopwith.executors.launch import launches
        from sopwith.executors.watch import LaunchWatch, still_runs

        if not order.folder.is_dir():
            why = "the folder in which it was started is gone, so nobody knows whether it was"
            return Lost(why, still_runs=await still_runs(order))
        found = launches(order.folder)
        if found and found[-1].marks().closed:
            return Lost("an earlier recovery found that it had never started, and gave it up")
        if not found or found[-1].void():
            return _given_up(order, len(found)) or self._launch(order, len(found), on_output, alone=True)
        launch = found[-1]
        identity = launch.marks().keeper
        keeper = adopt_keeper(identity) if identity else None
        # looked at before its result is: what is not kept any more has written all that it ever will
        if keeper is None and launch.is_kept():
            return Lost(_OUT_OF_SIGHT, still_runs=True)
        watch = LaunchWatch(order, launch, keeper, on_output)
        if keeper is None and isinstance(result := await watch.wait(), Lost):
            return result
        return watch

    def _launch(
        self, order: WorkOrder, number: int, on_output: Callable[[bytes], None], *, alone: bool = False
    ) -> Watch:
        from sopwith.executors.keeper_process import start_keeper, start_keeper_alone
        from sopwith.executors.launch import Launch
        from sopwith.executors.outcome import not_started, start_error
        from sopwith.executors.watch import LaunchWatch, Settled

        launch = Launch(order.folder / str(number))
        try:
            self._prepare(order, launch)
            keeper = start_keeper_alone(launch) if alone else start_keeper(launch)
        except FileExistsError:
            raise _started_before(order) from None
        except ValueError as error:
            return Settled(not_started(f"cannot start the step: {error}"))
        except OSError as error:
            # nothing runs; what it was to be given, secrets too, must not stay behind
            for path in (launch.order, launch.secret_params):
                path.unlink(missing_ok=True)
            return Settled(not_started(start_error(error.errno or 0)))
        return LaunchWatch(order, launch, keeper, on_output)

    def _prepare(self, order: WorkOrder, launch: Launch) -> None:
        from sopwith.executors.launch import Order

        if not order.working_dir.is_dir():
            raise ValueError(f"its working directory {order.working_dir} does not exist")
        work = self._work(order, launch)
        order.folder.mkdir(mode=0o700, exist_ok=True)
        cookie = launch.cookie(order)
        params = launch.secret_params if order.confidential.digest else launch.params
        own = {"SOP_OUTPUT": str(launch.values), "SOP_PARAMS": str(params), "SOP_COOKIE": cookie}
        if order.event_json is not None:
            own["SOP_EVENT"] = str(launch.event)
        told = Order(
            argv=work.argv,
            environment={**order.environment, **own},
            working_dir=order.working_dir,
            umask=order.umask,
            cookie=cookie,
            grace_secs=self._grace_secs,
            drain_secs=self._drain_secs,
            stdin=None if work.task is None else launch.task,
        ).encode()
        launch.prepare(
            script=work.script,
            parameters=order.parameters_json,
            order=told,
            secrets_digest=order.confidential.digest,
            task=work.task,
            event=order.event_json,
        )

    def _work(self, order: WorkOrder, launch: Launch) -> Work:
        """Raises ValueError for what cannot be started."""
        script = _script(order)
        program = find_program(script.interpreter, order.environment.get("PATH", os.defpath), order.working_dir)
        argv = (program, *INTERPRETERS[script.interpreter], str(launch.script))
        return Work(argv=argv, script=script.text.encode())


def find_program(name: str, path: str, folder: Path) -> str:
    """Where `name` is found on the step's own PATH, whose relative parts start at its folder. Raises ValueError."""
    home = str(folder)
    for part in path.split(os.pathsep):
        # no Path for each part: a PATH may have many, and it is searched several times at each start
        candidate = os.path.join(home, part, name)  # noqa: PTH118
        # os.path.isfile: a folder that may not be looked into holds nothing for this user
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):  # noqa: PTH113
            return str(Path(candidate))
    raise ValueError(f"there is no {name} on its PATH ({path}). Install it, or set PATH in the step's env")


def _script(order: WorkOrder) -> Script:
    script = order.step.script
    if script is None or script.interpreter not in INTERPRETERS:
        raise ValueError("it has no script that can be run")
    return script


def _started_before(order: WorkOrder) -> Conflict:
    step = step_id(order.step.number, order.instance)
    return Conflict(
        f"cannot start attempt {order.attempt} of step {step} of {order.run_id}: {order.folder} shows "
        "that it was started before",
        hint="recover it instead",
    )


def _given_up(order: WorkOrder, number: int) -> Lost | None:
    """Closes an attempt that must not start any more, also for a driver that was overtaken and does not know it yet."""
    from sopwith.executors.launch import Launch

    lost = Lost(order.withheld) if order.withheld else _lost_in_restart(order)
    if lost is not None and not Launch(order.folder / str(number)).close():
        raise _started_before(order)
    return lost


def _lost_in_restart(order: WorkOrder) -> Lost | None:
    """Nothing is flushed to disk, so after a power cut a missing mark proves nothing."""
    if order.intended_boot == order.this_boot:
        return None
    return Lost("the machine was restarted after the step was to be started, so nobody knows whether it was")


def _make() -> Executor:
    return ShellExecutor()


def _check(step: Step) -> Iterator[Problem]:
    """What would keep the step from starting. The caller knows the file and fills it in."""
    script = step.script
    if script is not None and script.interpreter not in INTERPRETERS:
        yield _problem(step, "unknown_interpreter", ", ".join(INTERPRETERS), script.interpreter)
    if script is not None and "\0" in script.text:
        yield _problem(step, "nul_in_script", "a script of text", "a NUL character in it")


def _problem(step: Step, code: str, expected: str, got: str) -> Problem:
    return Problem(
        severity=Severity.ERROR,
        code=code,
        file="",
        path=f"$.steps[{step.number - 1}].run",
        message=f"expected {expected}, got {got}",
        expected=expected,
        got=got,
    )


def _locate(step: Step, environment: Mapping[str, str], folder: Path) -> str | None:
    if step.script is None:
        return None
    try:
        return find_program(step.script.interpreter, environment.get("PATH", os.defpath), folder)
    except ValueError:
        return None


def _find_strays(runs: Path, run_ids: Iterable[str]) -> tuple[Stray, ...]:
    from sopwith.executors.strays import find_strays

    return find_strays(runs, run_ids)


def _end_strays(find: Callable[[], tuple[Stray, ...]]) -> tuple[Stray, ...]:
    from sopwith.executors.strays import end_strays

    return end_strays(find)


KIND = ExecutorKind(
    name="shell",
    needs_script=True,
    make=_make,
    check=_check,
    locate=_locate,
    find_strays=_find_strays,
    end_strays=_end_strays,
)
