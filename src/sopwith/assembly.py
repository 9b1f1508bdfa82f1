"""Puts the parts together. The only file that knows all of them; every door begins here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from sopwith.clock import RandomIds, SystemClock, boot_id
from sopwith.engine.auditing import Auditing
from sopwith.engine.engine import Engine
from sopwith.engine.files import ensure_private_folder
from sopwith.engine.keys import Keyring
from sopwith.engine.library import Library
from sopwith.engine.parts import Parts
from sopwith.plugins import Registry
from sopwith.ports import Cache, Owner, Workspace
from sopwith.stores.bell import DatagramBell
from sopwith.stores.sqlite import SqliteStore
from sopwith.stores.traces import refuse_lost
from sopwith.stores.views import FileViews

if TYPE_CHECKING:
    from sopwith.audit.keeper import Keeper
    from sopwith.engine.triggering import Triggering, TriggerWitness

# asking for the umask means setting it, so it is done once, before any thread
_UMASK = os.umask(0o077)
os.umask(_UMASK)


def open_engine(workspace: Workspace) -> Engine:
    """The engine on the workspace's own database, which is made at first need. Raises StoreError."""
    ensure_private_folder(workspace.runs)
    refuse_lost(workspace)
    store = SqliteStore(workspace.database)
    library = Library(workspace, cache=store)
    auditing = Auditing(
        seal=partial(_seal, store, library),
        tombstones=store.log.tombstones,
        restorations=store.log.restorations,
        examine=partial(_examine, workspace),
    )
    return _engine_on(workspace, store, library, auditing)


def engine_on_copy(workspace: Workspace, store: SqliteStore) -> Engine:
    """The engine on a copy of a record that is no workspace's yet: it signs nothing."""
    auditing = Auditing(tombstones=store.log.tombstones)
    return _engine_on(workspace, store, Library(workspace, cache=store), auditing)


def _engine_on(workspace: Workspace, store: SqliteStore, library: Library, auditing: Auditing) -> Engine:
    return Engine(
        Parts(
            workspace=workspace,
            store=store,
            views=FileViews(workspace.runs, store),
            library=library,
            kinds=Registry(),
            clock=SystemClock(),
            ids=RandomIds(),
            keyring=Keyring(workspace.keys),
            owner=this_process,
            environ=os.environ,
            umask=_UMASK,
            auditing=auditing,
            bell=DatagramBell(workspace.runs),
        )
    )


@contextmanager
def open_triggering(workspace: Workspace, witness: TriggerWitness) -> Iterator[Triggering]:
    """All triggers of the workspace, on a store of their own: their threads hold up nobody else's."""
    from sopwith.engine.triggering import Triggering
    from sopwith.triggers.folder import FileFolder
    from sopwith.triggers.watching import FileWatcher

    engine = open_engine(workspace)
    store = engine.parts.store
    assert isinstance(store, SqliteStore)
    with closing(store):
        yield Triggering(
            engine,
            store.deliveries,
            store.log,
            FileFolder(workspace.root),
            witness,
            watcher=FileWatcher(workspace.root),
        )


@contextmanager
def open_keeper(workspace: Workspace) -> Iterator[Keeper]:
    """The keeper of the workspace's log, on a store of its own: verification holds the lock of the one it reads."""
    from sopwith.audit.keeper import Keeper

    ensure_private_folder(workspace.runs)
    refuse_lost(workspace)
    with closing(SqliteStore(workspace.database)) as store:
        yield Keeper(store, workspace, Library(workspace).config)


def open_library(workspace: Workspace, *, cache: bool = True) -> Library:
    """The procedures alone. Uses the database as a cache where one exists, and makes none."""
    return Library(workspace, cache=_existing_cache(workspace) if cache else None)


def _seal(store: SqliteStore, library: Library, now: datetime) -> tuple[str, ...]:
    """Signs on the store that has just written. Imported here: readers never sign."""
    from sopwith.audit.sealing import Sealer

    return Sealer(store.log, library.workspace, library.config).seal(now)


def _examine(workspace: Workspace) -> tuple[str, ...]:
    with open_keeper(workspace) as keeper:
        return keeper.examine()


def _existing_cache(workspace: Workspace) -> Cache | None:
    return SqliteStore(workspace.database) if workspace.database.exists() else None


@cache
def this_process() -> Owner:
    """Who drives, where this process does; its start time tells it from a later one with the same pid."""
    pid = os.getpid()
    started = _process_started(pid)
    host = os.uname().nodename
    return Owner(owner_id=f"{host}:{pid}:{started}", host=host, pid=pid, process_started=started, boot_id=boot_id())


def _process_started(pid: int) -> str:
    """Field 22 of /proc/PID/stat: clock ticks after boot; empty where there is no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
