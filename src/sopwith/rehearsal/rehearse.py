"""All scenarios of a procedure: found beside it, read, played and judged."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from sopwith.core.address import StepId
from sopwith.core.procedure import Procedure
from sopwith.core.run import StepStatus, shown_status, status_of
from sopwith.engine.files import is_file, read_bounded
from sopwith.engine.library import SCENARIOS, Entry, Library
from sopwith.errors import BadRequest, NoScenario, Problem, Severity, WorkspaceError
from sopwith.parse.parsed import SourceFile
from sopwith.parse.scenario_file import read_scenario
from sopwith.rehearsal.play import play
from sopwith.rehearsal.verdict import Difference, Moment, differences, history, waits_for

_SUFFIX = ".toml"


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one scenario. With `problems` it was not played: the procedure or the file has errors.

    `file` empty: it is the procedure itself that has errors.
    """

    procedure: str
    scenario: str = ""
    file: str = ""
    description: str = ""
    status: str = ""
    """Of the run; empty where there was none."""
    steps: dict[StepId, StepStatus] = msgspec.field(default_factory=dict)
    took: str = ""
    """How long it took, by its own clock."""
    events: tuple[Moment, ...] = ()
    differences: tuple[Difference, ...] = ()
    waits_for: str = ""
    problems: tuple[Problem, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.differences and not self.problems


def rehearse(library: Library, name: str | None, files: Sequence[Path | SourceFile] = ()) -> Iterator[Rehearsed]:
    """Plays the scenarios of procedure `name`, or only those in `files`; with no name, those of all procedures.

    Raises BadName, NotFound, NoScenario, BadRequest.
    """
    entries = [library.find(name)] if name is not None else library.entries()[0]
    found = [(entry, _sources(library, entry, files)) for entry in entries]
    if not any(sources for _entry, sources in found):
        raise no_scenario(name)
    return (done for entry, sources in found if sources for done in _of_procedure(library, entry, sources))


def _of_procedure(library: Library, entry: Entry, sources: Sequence[SourceFile | Problem]) -> Iterator[Rehearsed]:
    parsed = library.looked_at(entry)
    if parsed.procedure is None:
        errors = tuple(problem for problem in parsed.problems if problem.severity is Severity.ERROR)
        yield Rehearsed(procedure=entry.name, problems=errors)
        return
    for source in sources:
        yield _rehearsed(library, parsed.procedure, source)


def _rehearsed(library: Library, procedure: Procedure, source: SourceFile | Problem) -> Rehearsed:
    if isinstance(source, Problem):
        return _unreadable(procedure, source.file, (source,))
    scenario, problems = read_scenario(source, procedure)
    if scenario is None:
        return _unreadable(procedure, source.path, problems)
    played = play(procedure, library.config() if scenario.config is None else scenario.config, scenario)
    found = differences(scenario, played)
    moments = history(played)
    run = played.run
    return Rehearsed(
        procedure=procedure.name,
        scenario=scenario.name,
        file=source.path,
        description=scenario.description,
        status="" if run is None else status_of(run).value,
        steps={} if run is None else {number: shown_status(run, step) for number, step in run.steps.items()},
        took=moments[-1].after if moments else "",
        events=moments,
        differences=found,
        waits_for=waits_for(played) if found else "",
    )


def _unreadable(procedure: Procedure, file: str, problems: tuple[Problem, ...]) -> Rehearsed:
    return Rehearsed(
        procedure=procedure.name, scenario=Path(file).name.removesuffix(_SUFFIX), file=file, problems=problems
    )


def _sources(library: Library, entry: Entry, files: Sequence[Path | SourceFile]) -> list[SourceFile | Problem]:
    """The scenario files with their bytes, by name; a problem in place of one that must or can not be read."""
    if files:
        return [each if isinstance(each, SourceFile) else given_scenario(each) for each in files]
    inside = os.path.realpath(library.workspace.sops)
    return [_beside(path, library, inside) for path in _paths(entry.folder / SCENARIOS)]


def _paths(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.suffix == _SUFFIX and p.name[0] != "." and is_file(p))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise WorkspaceError.from_os("look into", folder, error) from error


def given_scenario(path: Path) -> SourceFile:
    """A scenario that somebody named. Raises BadRequest where there is none."""
    data = read_bounded(path)
    if data is None:
        raise BadRequest(f"cannot use the scenario {path}: there is none", hint="name a file that exists")
    return SourceFile(str(path), data)


def _beside(path: Path, library: Library, inside: str) -> SourceFile | Problem:
    shown = str(path.relative_to(library.workspace.root))
    if not Path(os.path.realpath(path)).is_relative_to(inside):
        return _problem(shown, "leads_outside", f"{path.name} leads out of .pi/sops", "a copy instead of a link")
    try:
        data = read_bounded(path)
    except WorkspaceError as error:
        return _problem(shown, error.code, error.message, error.hint)
    return SourceFile(shown, data or b"")


def _problem(file: str, code: str, message: str, hint: str) -> Problem:
    return Problem(severity=Severity.ERROR, code=code, file=file, message=message, hint=hint)


def no_scenario(name: str | None) -> NoScenario:
    """There is nothing to play: of this procedure, or of any."""
    if name is None:
        return NoScenario(
            "no procedure here has a scenario, so nothing was tested",
            hint=f"write one: .pi/sops/PROCEDURE/{SCENARIOS}/NAME{_SUFFIX}",
        )
    return NoScenario(
        f"{name} has no scenario, so nothing was tested", hint=f"write one: .pi/sops/{name}/{SCENARIOS}/NAME{_SUFFIX}"
    )
