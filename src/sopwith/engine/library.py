"""The procedures of a workspace: found, read, and parsed once per content.

`index.json` is the registry; a folder that is on disk but not registered is found all the same and reported. No path
is ever built from a name that `check_name` has not passed, and nothing is read that lies outside `.pi/sops` once all
links are followed. What is wrong with one procedure never keeps another from being found.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from sopwith.core.digest import sha256
from sopwith.core.procedure import Procedure, check_name
from sopwith.engine.files import is_file, read_bounded
from sopwith.errors import BadName, InvalidProcedure, NotFound, Problem, Severity, WorkspaceError
from sopwith.parse.parsed import PARSER_VERSION, Parsed, SourceFile
from sopwith.ports import FOLDER, Workspace
from sopwith.version import __version__

if TYPE_CHECKING:
    from sopwith.core.config import Config
    from sopwith.ports import Cache

SHEET = "SOP.md"
MANIFEST = "manifest.json"
SCENARIOS = "scenarios"
"""The folder beside them with what `sop test` plays."""
_REGISTER = "sop doctor registers it"
_ALL = "sop validate shows everything that is wrong"
# made at import, as all decoders are: where threads meet a type for the first time the JSON library crashes
_PARSED = msgspec.msgpack.Decoder(Parsed)
_INDEX = msgspec.msgpack.Decoder(dict[str, str])
_KEEP_INSIDE = "keep procedures inside .pi/sops: a copy instead of a link"


_Index = tuple[Mapping[str, str], tuple[Problem, ...]]


class Entry(msgspec.Struct, frozen=True):
    """A procedure that index.json or the disk knows. `folder` is inside `.pi/sops`."""

    name: str
    folder: Path
    registered: bool


class _Survey(msgspec.Struct, frozen=True):
    """What is there: procedures by name, names that cannot be used and why, and every problem met."""

    found: dict[str, Entry]
    refused: dict[str, Problem]
    problems: tuple[Problem, ...]


class Library:
    """All procedures of one workspace. Holds no state but what was parsed, and a cache of that, which may be absent."""

    def __init__(self, workspace: Workspace, cache: Cache | None = None) -> None:
        self.workspace = workspace
        self._cache = cache
        self._sops = workspace.sops
        # of a hundred procedures each Path costs more than what is read: they are put together as text
        self._place = str(workspace.sops)
        self._inside = os.path.realpath(workspace.sops)
        self._known_index: tuple[bytes, _Index] | None = None
        """What index.json said, by its bytes: it is read each time, and parsed anew where it says something else."""

    def entries(self) -> tuple[tuple[Entry, ...], tuple[Problem, ...]]:
        """Every procedure that can be read, by name; and what is wrong with the registry and the folders."""
        survey = self._survey()
        return tuple(survey.found[name] for name in sorted(survey.found)), survey.problems

    def find(self, name: str) -> Entry:
        """The entry called `name`. Raises BadName, InvalidProcedure, or NotFound with the nearest known name."""
        check_name(name)
        if (entry := self._registered(name)) is not None:
            return entry
        survey = self._survey()
        if name in survey.found:
            return survey.found[name]
        if (problem := survey.refused.get(name)) is not None:
            raise InvalidProcedure(f"{name} cannot be used: {problem.message}", problems=(problem,), hint=_ALL)
        from difflib import get_close_matches

        near = get_close_matches(name, survey.found, n=1)
        raise NotFound(
            f"no procedure is called {name}",
            hint=f"did you mean {near[0]}?" if near else "sop list shows all, sop create makes one",
        )

    def _registered(self, name: str) -> Entry | None:
        """The entry that index.json has under this name, if it can be used: there is no need to look at all others."""
        path = self._index()[0].get(name)
        if path is None:
            return None
        entry = self._indexed(name, path)
        return entry if self._unusable(entry, path) is None else None

    def _indexed(self, name: str, path: str) -> Entry:
        """The entry of index.json that leads to this manifest."""
        return Entry(name, self._sops / path.rpartition("/")[0], True)

    def parsed(self, name: str) -> Parsed:
        """The procedure or its problems, with what index.json says about it. Raises BadName or NotFound."""
        return self.read(self.find(name))

    def read(self, entry: Entry) -> Parsed:
        """The same for an entry at hand."""
        outside = self.outside(entry)
        parsed = Parsed(procedure=None, problems=outside) if outside else self._parse(entry)
        if entry.registered or outside:
            return parsed
        note = _warning("index.json", "unregistered", f"{entry.name} is not registered", _REGISTER)
        return Parsed(procedure=parsed.procedure, problems=(*parsed.problems, note))

    def looked_at(self, entry: Entry) -> Parsed:
        """The same where many are read: what stands in the way of one is its own problem, and stops no other."""
        try:
            return self.read(entry)
        except WorkspaceError as error:
            problem = _error(f"{entry.name}/", "unreadable", error.message, error.hint)
            return Parsed(procedure=None, problems=(problem,))

    def outside(self, entry: Entry) -> tuple[Problem, ...]:
        """An error for each file of the procedure that is none of `.pi/sops`, so that it must not be read."""
        return tuple(
            _error(
                self._shown(entry, file),
                "leads_outside",
                f"{file} of {entry.name} leads out of .pi/sops",
                _KEEP_INSIDE,
            )
            for file in (SHEET, MANIFEST)
            if not self._is_inside(f"{entry.folder}/{file}")
        )

    def procedure(self, name: str) -> Procedure:
        """The procedure, ready to run. Raises InvalidProcedure with every problem, BadName or NotFound."""
        parsed = self.parsed(name)
        if parsed.procedure is None:
            errors = tuple(p for p in parsed.problems if p.severity is Severity.ERROR)
            count = "an error" if len(errors) == 1 else f"{len(errors)} errors"
            raise InvalidProcedure(
                f"{name} has {count} and cannot run", problems=parsed.problems, hint=f"sop validate {name} shows all"
            )
        return parsed.procedure

    def config(self) -> Config:
        """config.json, or the defaults where there is none. Raises InvalidProcedure."""
        config, problems = self.parsed_config()
        if config is None:
            raise InvalidProcedure("config.json has errors", problems=problems, hint="sop validate shows all")
        return config

    def parsed_config(self) -> tuple[Config | None, tuple[Problem, ...]]:
        """config.json and what is to be said about it."""
        data = read_bounded(self.workspace.config)
        if data is None:
            from sopwith.core.config import Config

            return Config(), ()
        from sopwith.parse.config import parse_config

        config, problems = parse_config(SourceFile("config.json", data))
        return None if config is None else replace(config, digest=sha256(data).hexdigest()), problems

    def _index(self) -> _Index:
        data = read_bounded(self.workspace.index)
        if data is None:
            return {}, ()
        known = self._known_index
        if known is None or known[0] != data:
            known = self._known_index = data, self._understood(data)
        return known[1]

    def _understood(self, data: bytes) -> _Index:
        """What index.json says; where nothing is wrong with it, from the cache."""
        digest = sha256(f"{__version__}\0{PARSER_VERSION}\0".encode() + data)
        key = f"index:{digest.hexdigest()}"
        if self._cache is not None and (kept := self._cache.recall(key)) is not None:
            try:
                return _INDEX.decode(kept), ()
            except msgspec.MsgspecError:
                pass  # as for a procedure
        from sopwith.parse.index import parse_index

        parsed, problems = parse_index(SourceFile("index.json", data))
        index = parsed or {}
        if self._cache is not None and not problems:
            self._cache.remember(key, msgspec.msgpack.encode(index))
        return index, problems

    def _survey(self) -> _Survey:
        index, problems = self._index()
        found: dict[str, Entry] = {}
        refused: dict[str, Problem] = {}
        for name, path in index.items():
            entry = self._indexed(name, path)
            if (problem := self._unusable(entry, path)) is None:
                found[name] = entry
            else:
                refused[name] = problem
        notes: list[Problem] = []
        for name in self._names_on_disk():
            if name in found or name in refused or not has_files(self._sops / name):
                continue
            entry = Entry(name, self._sops / name, False)
            if (problem := self._unusable(entry, entry.name)) is not None:
                refused[entry.name] = problem
                continue
            found[entry.name] = entry
            message = f"{entry.name} is on disk but not registered"
            notes.append(_warning("index.json", "unregistered", message, _REGISTER))
        return _Survey(found, refused, (*problems, *refused.values(), *notes))

    def _unusable(self, entry: Entry, path: str) -> Problem | None:
        """Why nobody may use what index.json, or a folder on disk, says is a procedure."""
        told = _error if entry.registered else _warning
        file = "index.json" if entry.registered else f"{entry.name}/"
        try:
            check_name(entry.name)
        except BadName as error:
            return told(file, "bad_name", error.message, error.hint)
        if self._is_inside(str(entry.folder)):
            return None
        return _error(file, "leads_outside", f"{entry.name} leads out of .pi/sops: {path}", _KEEP_INSIDE)

    def _is_inside(self, path: str) -> bool:
        if self._is_straight(path):
            return True
        # not Path.resolve, which raises for links that lead in a circle
        return Path(os.path.realpath(path)).is_relative_to(self._inside)

    def _is_straight(self, path: str) -> bool:
        """Whether no link stands between `.pi/sops` and the path, so that it lies where it says: quick to tell."""
        place = self._place
        if not path.startswith(f"{place}/"):
            return False
        for part in path[len(place) + 1 :].split("/"):
            place += f"/{part}"
            if part == ".." or os.path.islink(place):  # noqa: PTH114 - no Path for each part
                return False
        return True

    def _names_on_disk(self) -> list[str]:
        try:
            return sorted(os.listdir(self._place))  # noqa: PTH208 - no Path for each name
        except OSError as error:
            raise WorkspaceError.from_os("look into", self._place, error) from error

    def _source(self, entry: Entry, file: str) -> SourceFile | None:
        data = read_bounded(f"{entry.folder}/{file}")
        return None if data is None else SourceFile(self._shown(entry, file), data)

    def _shown(self, entry: Entry, file: str) -> str:
        """The path of the file as people write it, from the project folder."""
        return f"{FOLDER}{str(entry.folder)[len(self._place) :]}/{file}"

    def _parse(self, entry: Entry) -> Parsed:
        sheet = self._source(entry, SHEET)
        manifest = self._source(entry, MANIFEST)
        key = _cache_key(entry.name, sheet, manifest)
        if self._cache is not None and (kept := self._cache.recall(key)) is not None:
            try:
                return _PARSED.decode(kept)
            except msgspec.DecodeError:
                pass  # written by another version; parsing again is always right
        from sopwith.parse.procedure import parse_procedure

        parsed = parse_procedure(entry.name, sop_md=sheet, manifest=manifest)
        if self._cache is not None:
            self._cache.remember(key, msgspec.msgpack.encode(parsed))
        return parsed


def has_files(folder: Path) -> bool:
    """Whether a procedure's files, or one of them, are in the folder."""
    return is_file(folder / SHEET) or is_file(folder / MANIFEST)


def _cache_key(name: str, sheet: SourceFile | None, manifest: SourceFile | None) -> str:
    digest = sha256(f"{__version__}\0{PARSER_VERSION}\0{name}".encode())
    for source in (sheet, manifest):
        if source is None:
            digest.update(b"\0-")
        else:
            digest.update(f"\0{source.path}\0{len(source.data)}\0".encode() + source.data)
    return f"parsed:{digest.hexdigest()}"


def _error(file: str, code: str, message: str, hint: str) -> Problem:
    return Problem(severity=Severity.ERROR, code=code, file=file, message=message, hint=hint)


def _warning(file: str, code: str, message: str, hint: str) -> Problem:
    return Problem(severity=Severity.WARNING, code=code, file=file, message=message, hint=hint)
