"""The same four steps of nothing in Sopwith and in other engines, each in an interpreter of its own, in turns.

The others are installed on demand into an environment of their own (`.venv-bench`, or `SOPWITH_BENCH_ENV`). What
cannot be had here is left out, and the report says so: PostgreSQL needs its server's programs on this machine.

How much of a run is waiting for the disk depends on the disk, so the syncs of a run are counted too, where strace is.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import statistics
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent / "alternatives"
_SECONDS = 4.0
_LIMIT_SECS = 180.0


def measure(folder: Path, *, rounds: int = 3, seconds: float = _SECONDS) -> dict[str, Any]:
    """Milliseconds a run of four steps, how many times longer than ours that is, and how often a run syncs a file."""
    left_out: dict[str, str] = {}
    python = _environment_if_it_can_be_had(left_out)
    with nullcontext("") if python is None else _postgres(folder / "postgres", left_out) as url:
        commands = {
            "sopwith": [sys.executable, "-m", "benchmarks.alternatives.sopwith_steps", str(folder / "sopwith")],
            "dbos on SQLite": [*_program(python, "dbos"), f"sqlite:///{folder}/dbos.sqlite"],
            "langgraph on SQLite": [*_program(python, "langgraph"), f"{folder}/langgraph.sqlite"],
            "prefect on SQLite": [*_program(python, "prefect"), f"{folder}/prefect"],
        }
        if python is None:
            commands = {"sopwith": commands["sopwith"]}
        elif url:
            commands["dbos on PostgreSQL"] = [*_program(python, "dbos"), url]
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                if name in left_out:
                    continue
                try:
                    taken[name].append(_ms_per_run(command, seconds))
                except (subprocess.SubprocessError, ValueError, IndexError) as error:
                    left_out[name] = _last_line(error)
        syncs = {name: _syncs(commands[name], seconds, folder / "syncs") for name in commands if taken[name]}
    ms = {name: statistics.median(each) for name, each in taken.items() if each}
    ours = ms["sopwith"]
    found: dict[str, Any] = {
        name: {"ms a run": round(each, 2), "runs/s": round(1000 / each, 1), "times ours": round(each / ours, 2)}
        | syncs.get(name, {})
        for name, each in ms.items()
    }
    return {**found, "left out": left_out}


def _environment_if_it_can_be_had(left_out: dict[str, str]) -> Path | None:
    try:
        return environment()
    except (subprocess.SubprocessError, OSError) as error:
        left_out["other engines"] = f"their environment cannot be made: {_last_line(error)}"
        return None


def environment() -> Path:
    """The interpreter of the environment that the other engines are in; it is made where it is not there yet."""
    home = Path(os.environ.get("SOPWITH_BENCH_ENV") or Path(__file__).parent.parent / ".venv-bench")
    python = home / "bin" / "python"
    wanted = (_HERE / "requirements.txt").read_text()
    done = home / "requirements.done"
    if not done.exists() or done.read_text() != wanted:
        venv.create(home, with_pip=True)
        requirements = str(_HERE / "requirements.txt")
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", requirements], check=True)
        done.write_text(wanted)
    return python


def _program(python: Path | None, name: str) -> list[str]:
    return [str(python), str(_HERE / f"{name}_steps.py")]


def _ms_per_run(command: list[str], seconds: float) -> float:
    runs, taken = _turn(command, seconds)
    return taken / runs * 1000


def _turn(command: list[str], seconds: float, *before: str) -> tuple[int, float]:
    """One turn: the program says on its last line how many runs it had in how many seconds."""
    # its arguments come after the seconds, and a module's name before them
    at = 3 if command[1] == "-m" else 2
    full = [*before, *command[:at], str(seconds), *command[at:]]
    done = subprocess.run(full, check=True, capture_output=True, text=True, timeout=_LIMIT_SECS)
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return int(told["runs"]), float(told["seconds"])


def _syncs(command: list[str], seconds: float, log: Path) -> dict[str, float]:
    """How often a run waits for the disk; nothing without strace, or where a server of its own does the writing."""
    if shutil.which("strace") is None or any(part.startswith("postgresql:") for part in command):
        return {}
    try:
        few, many = (_counted(command, each, log) for each in (seconds / 4, seconds))
    except (subprocess.SubprocessError, ValueError, IndexError):
        return {}
    # what it syncs before its first run is in both
    return {"syncs a run": round((many[1] - few[1]) / (many[0] - few[0]), 1)} if many[0] > few[0] else {}


def _counted(command: list[str], seconds: float, log: Path) -> tuple[int, int]:
    """Runs, and syncs from its start to its end."""
    runs, _taken = _turn(command, seconds, "strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", str(log))
    return runs, sum(1 for line in log.read_text().splitlines() if "sync(" in line)


def _last_line(error: Exception) -> str:
    told = getattr(error, "stderr", None) or str(error)
    lines = str(told).strip().splitlines() or [type(error).__name__]
    return lines[-1][:200]


@contextmanager
def _postgres(folder: Path, left_out: dict[str, str]) -> Iterator[str]:
    """A PostgreSQL server behind a socket in the folder, with its default durability; "" where none can be."""
    programs = _postgres_programs()
    if programs is None:
        left_out["dbos on PostgreSQL"] = "initdb and pg_ctl are not on this machine"
        yield ""
        return
    folder.mkdir()
    # it refuses to run as root
    as_user: list[str] = []
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            left_out["dbos on PostgreSQL"] = "root may not run it, and there is no user postgres"
            yield ""
            return
        os.chown(folder, user.pw_uid, user.pw_gid)
        # it has to reach its folder, in one that was made for us alone
        folder.parent.chmod(folder.parent.stat().st_mode | 0o011)
        as_user = ["runuser", "-u", "postgres", "--"]
    data, control = str(folder / "data"), [*as_user, str(programs / "pg_ctl"), "-D", str(folder / "data")]
    run = partial(subprocess.run, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    listen = f"-k {folder} -h ''"
    try:
        run([*as_user, str(programs / "initdb"), "-D", data, "-A", "trust", "-U", "postgres"])
        run([*control, "-w", "-o", listen, "-l", str(folder / "log"), "start"])
    except (subprocess.SubprocessError, OSError) as error:
        left_out["dbos on PostgreSQL"] = f"its server does not start here: {_last_line(error)}"
        yield ""
        return
    try:
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        run([*control, "-m", "fast", "stop"])


def _postgres_programs() -> Path | None:
    found = shutil.which("pg_ctl")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "pg_ctl").exists()), None)
