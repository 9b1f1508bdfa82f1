"""The procedures of a workspace: found, read, and parsed once per content.

`index.json` is the registry; a folder that is on disk but not registered is found all the same and reported. No path
is ever built from a name that `check_name` has not passed.
"""

from __future__ import annotations

import hashlib
from difflib import get_close_matches
from pathlib import Path

import msgspec

from sopwith.core.config import Config
from sopwith.core.procedure import Procedure, check_name
from sopwith.engine.files import read_bounded
from sopwith.errors import BadName, InvalidProcedure, NotFound, Problem, Severity
from sopwith.parse.parsed import PARSER_VERSION, Parsed, SourceFile
from sopwith.ports import Cache, Workspace
from sopwith.version import __version__

SHEET = "SOP.md"
MANIFEST = "manifest.json"
_REGISTER = "sop doctor registers it"


class Entry(msgspec.Struct, frozen=True):
    """A procedure that index.json or the disk knows. `folder` is inside `.pi/sops`."""

    name: str
    folder: Path
    registered: bool


class Library:
    """All procedures of one workspace. Holds no state but a cache of parsed files, which may be absent."""

    def __init__(self, workspace: Workspace, cache: Cache | None = None) -> None:
        self.workspace = workspace
        self._cache = cache

    def entries(self) -> tuple[tuple[Entry, ...], tuple[Problem, ...]]:
        """Every procedure by name, and what is wrong with the registry itself."""
        index, problems = self._index()
        found = {name: Entry(name, self._folder_of(name, path), True) for name, path in index.items()}
        for folder in self._folders_on_disk():
            if folder.name in found:
                continue
            try:
                check_name(folder.name)
            except BadName as error:
                problems = (*problems, _warning(f"{folder.name}/", "bad_name", error.message, error.hint))
                continue
            found[folder.name] = Entry(folder.name, folder, False)
            problems = (
                *problems,
                _warning("index.json", "unregistered", f"{folder.name} is on disk but not registered", _REGISTER),
            )
        return tuple(found[name] for name in sorted(found)), problems

    def find(self, name: str) -> Entry:
        """The entry called `name`. Raises BadName or NotFound, with the nearest known name."""
        check_name(name)
        entries, _ = self.entries()
        by_name = {entry.name: entry for entry in entries}
        if name in by_name:
            return by_name[name]
        near = get_close_matches(name, by_name, n=1)
        raise NotFound(
            f"no procedure is called {name}",
            hint=f"did you mean {near[0]}?" if near else "sop list shows all, sop create makes one",
        )

    def parsed(self, name: str) -> Parsed:
        """The procedure or its problems, with what index.json says about it. Raises BadName or NotFound."""
        return self.read(self.find(name))

    def read(self, entry: Entry) -> Parsed:
        """The same for an entry at hand."""
        sheet = self._source(entry, SHEET)
        manifest = self._source(entry, MANIFEST)
        parsed = self._parse(entry.name, sheet, manifest)
        if entry.registered:
            return parsed
        note = _warning("index.json", "unregistered", f"{entry.name} is not registered", _REGISTER)
        return Parsed(procedure=parsed.procedure, problems=(*parsed.problems, note))

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
            return Config(), ()
        from sopwith.parse.config import parse_config

        return parse_config(SourceFile("config.json", data))

    def _index(self) -> tuple[dict[str, str], tuple[Problem, ...]]:
        data = read_bounded(self.workspace.index)
        if data is None:
            return {}, ()
        from sopwith.parse.index import parse_index

        index, problems = parse_index(SourceFile("index.json", data))
        return index or {}, problems

    def _folder_of(self, name: str, path: str) -> Path:
        folder = (self.workspace.sops / path).parent
        if not folder.resolve().is_relative_to(self.workspace.sops.resolve()):
            raise BadName(f"index.json leads {name} out of .pi/sops: {path}", hint="keep procedures inside .pi/sops")
        return folder

    def _folders_on_disk(self) -> list[Path]:
        return sorted(
            folder
            for folder in self.workspace.sops.iterdir()
            if folder.is_dir() and ((folder / SHEET).is_file() or (folder / MANIFEST).is_file())
        )

    def _source(self, entry: Entry, file: str) -> SourceFile | None:
        path = entry.folder / file
        data = read_bounded(path)
        return None if data is None else SourceFile(str(path.relative_to(self.workspace.root)), data)

    def _parse(self, name: str, sheet: SourceFile | None, manifest: SourceFile | None) -> Parsed:
        key = _cache_key(name, sheet, manifest)
        if self._cache is not None and (kept := self._cache.recall(key)) is not None:
            try:
                return msgspec.msgpack.decode(kept, type=Parsed)
            except msgspec.DecodeError:
                pass  # written by another version; parsing again is always right
        from sopwith.parse.procedure import parse_procedure

        parsed = parse_procedure(name, sop_md=sheet, manifest=manifest)
        if self._cache is not None:
            self._cache.remember(key, msgspec.msgpack.encode(parsed))
        return parsed


def _cache_key(name: str, sheet: SourceFile | None, manifest: SourceFile | None) -> str:
    digest = hashlib.sha256(f"{__version__}\0{PARSER_VERSION}\0{name}".encode())
    for source in (sheet, manifest):
        if source is None:
            digest.update(b"\0-")
        else:
            digest.update(f"\0{source.path}\0{len(source.data)}\0".encode() + source.data)
    return f"parsed:{digest.hexdigest()}"


def _warning(file: str, code: str, message: str, hint: str) -> Problem:
    return Problem(severity=Severity.WARNING, code=code, file=file, message=message, hint=hint)
