"""The procedures of a workspace at a glance, as every door lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sopwith.core.actor import Actor
from sopwith.core.modes import declared_mode
from sopwith.core.procedure import Procedure
from sopwith.engine.documents import Document
from sopwith.engine.library import Library
from sopwith.engine.sight import Sight
from sopwith.errors import Problem, Severity, SopwithError

if TYPE_CHECKING:
    from sopwith.core.config import Config


def list_procedures(library: Library, actor: Actor | None = None) -> tuple[list[Document], tuple[Problem, ...]]:
    """Each procedure that index.json or the disk knows, and whether it can run; and what is wrong with the registry.

    With an actor that came through a token, only what it may know of.
    One that can be read has `title, description, version, priority, executionMode, totalSteps, gates`.
    """
    config = library.config()
    entries, problems = library.entries()
    listed = []
    sight = Sight(library, actor)
    if not sight.is_whole:
        problems = ()  # they name files
    for entry in entries:
        if not sight.sees(entry.name):
            continue
        try:
            parsed = library.read(entry)
        except SopwithError as error:
            listed.append({"name": entry.name, "valid": False, "error": error.message})
            continue
        errors = sum(problem.severity is Severity.ERROR for problem in parsed.problems)
        document: Document = {
            "name": entry.name,
            "valid": errors == 0,
            "errors": errors,
            "registered": entry.registered,
        }
        if parsed.procedure is not None:
            document |= _at_a_glance(parsed.procedure, config)
        listed.append(document)
    return listed, problems


def _at_a_glance(procedure: Procedure, config: Config) -> Document:
    return {
        "title": procedure.title,
        "description": procedure.description,
        "version": procedure.version,
        "priority": procedure.priority,
        "executionMode": declared_mode(procedure, config),
        "totalSteps": len(procedure.steps),
        "gates": sum(step.requires_approval for step in procedure.steps),
    }
