"""What can be done with procedures without running them: list, show, validate, plan, create. One answer for every
door.

What only one of them needs is imported there: a list needs none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sopwith.core.actor import Actor
from sopwith.core.config import Config
from sopwith.core.people import Directory, Right, check_right
from sopwith.core.procedure import ExecutionMode
from sopwith.engine.documents import Document, problem_document, procedure_document
from sopwith.engine.library import Library
from sopwith.engine.listing import list_procedures
from sopwith.engine.sight import Sight
from sopwith.errors import Problem, Severity
from sopwith.parse.parsed import Parsed

if TYPE_CHECKING:
    from sopwith.ports import ExecutorKinds


class Catalog:
    """The procedures of one workspace."""

    def __init__(
        self, library: Library, kinds: ExecutorKinds, environ: Mapping[str, str], actor: Actor | None = None
    ) -> None:
        """`actor`: who asks, where that one came through a token: what it may not know of is not found or listed."""
        self._library = library
        self._kinds = kinds
        self._environ = environ
        self._actor = actor

    def listed(self) -> Document:
        """`{sops, total, problems}`: all procedures, and what is wrong with the registry."""
        sops, problems = list_procedures(self._library, self._actor)
        return {"sops": sops, "total": len(sops), "problems": [problem_document(problem) for problem in problems]}

    def shown(self, name: str) -> Document:
        """`{sop}`. Raises NotFound, InvalidProcedure."""
        self._check(name)
        return {"sop": procedure_document(self._library.procedure(name), self._library.config())}

    def validated(self, name: str | None = None) -> Document:
        """`{valid, checked, errors, warnings, problems}` of one, or of all, index.json and config.json."""
        found: tuple[Problem, ...] = ()
        if name is not None:
            self._check(name)
            parsed = {name: self._library.parsed(name)}
        else:
            entries, found = self._library.entries()
            parsed = {entry.name: self._library.looked_at(entry) for entry in entries}
        config, of_config = self._library.parsed_config()
        # each unregistered procedure says so itself
        problems = [*(problem for problem in found if problem.code != "unregistered"), *of_config]
        for each in parsed.values():
            problems += self._problems(each, config)
        errors = sum(problem.severity is Severity.ERROR for problem in problems)
        return {
            "valid": errors == 0,
            "checked": [*parsed],
            "errors": errors,
            "warnings": len(problems) - errors,
            "problems": [problem_document(problem) for problem in problems],
        }

    def planned(self, name: str, *, params: Mapping[str, Any], mode: ExecutionMode | None, actor: Actor) -> Document:
        """`{dryRun, …}`: what a run would do, in order. Writes nothing and starts nothing."""
        from sopwith.engine.planning import plan_document

        self._check(name)
        workspace = self._library.workspace
        return {
            "dryRun": True,
            **plan_document(workspace, self._library, name, params=params, mode=mode, actor=actor),
        }

    def created(self, name: str) -> Document:
        """`{name, created}`: makes a procedure from the template. Raises NotAllowed, BadName, Refused."""
        from sopwith.engine.template import create_procedure

        workspace = self._library.workspace
        if self._actor is not None:
            people = Directory(self._library.config())
            check_right(self._actor, Right.WRITE, people, "make procedures", procedure=name)
        made = create_procedure(workspace, name)
        # where the workspace lies is nothing to whoever is elsewhere
        shown = made if self._actor is None else tuple(path.relative_to(workspace.root) for path in made)
        return {"name": name, "created": [str(path) for path in shown]}

    def _check(self, name: str) -> None:
        if self._actor is not None:
            Sight(self._library, self._actor).check_procedure(name)

    def _problems(self, parsed: Parsed, config: Config | None) -> tuple[Problem, ...]:
        """Of one procedure; who may pass its gates is looked at where config.json can be read."""
        if parsed.procedure is None or config is None:
            return parsed.problems
        from sopwith.engine.checks import check_procedure
        from sopwith.engine.trigger_checks import check_ends
        from sopwith.engine.uses import problems_of_uses

        return (
            *parsed.problems,
            *problems_of_uses(parsed.procedure, self._library.procedure),
            *check_ends(parsed.procedure, self._library.procedure),
            *check_procedure(parsed.procedure, self._kinds, self._environ, config, self._library.workspace.root),
        )
