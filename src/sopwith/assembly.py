"""Puts the parts together. The only file that knows all of them; every door begins here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from sopwith.clock import RandomIds, SystemClock, boot_id
from sopwith.engine.auditing import Auditing
from sopwith.engine.files import ensure_private_folder
from sopwith.engine.keys import Keyring
from sopwith.engine.library import Library
from sopwith.engine.parts import Parts
from sopwith.errors import BadRequest, NotSent
from sopwith.plugins import Registry
from sopwith.ports import Owner, Workspace
from sopwith.stores.bell import DatagramBell
from sopwith.stores.sqlite import SqliteStore
from sopwith.stores.traces import refuse_lost
from sopwith.stores.views import FileViews

if TYPE_CHECKING:
    from sopwith.audit.access_retention import AccessRetention
    from sopwith.audit.keeper import Keeper
    from sopwith.core.actor import Actor
    from sopwith.core.config import Config
    from sopwith.core.notifications import ChannelConfig
    from sopwith.engine.engine import Engine
    from sopwith.engine.outside import Outside
    from sopwith.engine.postman import Postman, PostWitness
    from sopwith.engine.tokens import Tokens
    from sopwith.engine.tracer import Tracer
    from sopwith.engine.triggering import Triggering, TriggerWitness
    from sopwith.ports import Cache, Clock, Messenger
    from sopwith.telemetry.metrics import Beginning, Metrics

# asking for the umask means setting it, so it is done once, before any thread
_UMASK = os.umask(0o077)
os.umask(_UMASK)


def open_engine(workspace: Workspace) -> Engine:
    """The engine on the workspace's own database, which is made at first need. Raises StoreError."""
    from sopwith.engine.engine import Engine

    return Engine(open_parts(workspace))


def open_parts(workspace: Workspace) -> Parts:
    """The same without the engine, for whoever only looks. Raises StoreError."""
    ensure_private_folder(workspace.runs)
    refuse_lost(workspace)
    store = SqliteStore(workspace.database)
    library = Library(workspace, cache=store)
    auditing = Auditing(
        seal=partial(_seal, store, library),
        tombstones=partial(_tombstones, store),
        restorations=partial(_restorations, store),
        examine=partial(_examine, workspace),
    )
    return _parts_on(workspace, store, library, auditing)


def engine_on_copy(workspace: Workspace, store: SqliteStore) -> Engine:
    """The engine on a copy of a record that is no workspace's yet: it signs nothing."""
    from sopwith.engine.engine import Engine

    auditing = Auditing(tombstones=store.log.tombstones)
    return Engine(_parts_on(workspace, store, Library(workspace, cache=store), auditing))


def _parts_on(workspace: Workspace, store: SqliteStore, library: Library, auditing: Auditing) -> Parts:
    return Parts(
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


def tokens_of(engine: Engine) -> Tokens:
    """The tokens of the workspace, and the server's own log, on the engine's own database."""
    from sopwith.engine.tokens import Tokens

    parts = engine.parts
    assert isinstance(parts.store, SqliteStore)
    return Tokens(parts.store.tokens, parts.library, parts.clock, parts.ids)


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
        yield Keeper(store, workspace, Library(workspace).config, access=_access_retention(workspace, store))


def _access_retention(workspace: Workspace, store: SqliteStore) -> AccessRetention:
    from sopwith.audit.access_retention import AccessRetention
    from sopwith.audit.retention import check_clock
    from sopwith.audit.signing import SigningKey
    from sopwith.engine.access import entry_maker

    return AccessRetention(
        store.tokens,
        SigningKey(workspace.keys),
        entry_maker,
        troubles=partial(_access_troubles, workspace, store),
        check_clock=partial(check_clock, store.log, store.log),
    )


def troubles_around(engine: Engine) -> Iterator[tuple[str, str]]:
    """What is wrong around the record, for `examine`: with the disk, the server's own log and deliveries.

    A sentence and a hint each.
    """
    from sopwith.engine.delivery_checks import examine_deliveries
    from sopwith.stores.surroundings import troubles

    store = engine.parts.store
    assert isinstance(store, SqliteStore)
    yield from troubles(engine.parts.workspace.database)
    yield from _access_troubles(engine.parts.workspace, store)
    yield from examine_deliveries(store.deliveries, engine.runs)


def _access_troubles(workspace: Workspace, store: SqliteStore) -> Iterator[tuple[str, str]]:
    from sopwith.audit.access_retention import stated
    from sopwith.audit.signing import known_keys
    from sopwith.engine.access import examine_access

    return examine_access(store.tokens, partial(stated, keys=known_keys(workspace.keys)))


def outside_of(engine: Engine | None, library: Library, clock: Clock, actor: Actor | None = None) -> Outside:
    """What is known of triggers and messages; without an engine nothing was kept yet."""
    from sopwith.engine.outside import Outside

    store = None if engine is None else engine.parts.store
    assert store is None or isinstance(store, SqliteStore)
    return Outside(
        library,
        os.environ,
        clock,
        engine=engine,
        deliveries=None if store is None else store.deliveries,
        notices=None if store is None else store.notices,
        actor=actor,
    )


def make_messenger(parts: Parts) -> Callable[[ChannelConfig], Messenger]:
    """What makes a channel ready to send. It raises NotSent where it cannot be used here."""
    from sopwith.plugins import Channels
    from sopwith.ports import Premises

    kinds = Channels()
    premises = Premises(environ=parts.environ, root=parts.workspace.root, now=parts.clock.now)

    def make(channel: ChannelConfig) -> Messenger:
        try:
            return kinds.kind(channel.kind).make(channel, premises)
        except BadRequest as error:
            raise NotSent(error.message, hint=error.hint) from error

    return make


def make_postman(engine: Engine, witness: PostWitness) -> Postman:
    """Who sends what is to be told, on the store of an engine that was opened here."""
    from sopwith.engine.postman import Postman

    store = engine.parts.store
    assert isinstance(store, SqliteStore)
    return Postman(engine.parts, store.log, store.notices, make_messenger(engine.parts), witness)


def count_from_now(engine: Engine) -> Beginning:
    """Where metrics begin that are counted from now on. Raises StoreError."""
    from sopwith.telemetry.metrics import Beginning

    store = engine.parts.store
    assert isinstance(store, SqliteStore)
    return Beginning(store.log.end().high_water, engine.parts.clock.now().at)


def make_metrics(engine: Engine, since: Beginning) -> Metrics:
    """What is counted since then, for whoever serves it as text. Raises MissingExtra."""
    from sopwith.telemetry.metrics import Metrics

    store = engine.parts.store
    assert isinstance(store, SqliteStore)
    return Metrics(store, store.log, store.tally, engine.parts.clock, since)


def make_tracer(engine: Engine, on_trouble: Callable[[BaseException], None]) -> Tracer:
    """Who sends spans to the collector that config.json or the environment names."""
    from sopwith.engine.tracer import Exporter, Tracer

    store = engine.parts.store
    assert isinstance(store, SqliteStore)
    made: dict[str, Exporter] = {}

    def collector(config: Config) -> Exporter | None:
        from sopwith.telemetry.otlp import Otlp, endpoint_of

        endpoint = endpoint_of(config, engine.parts.environ)
        if endpoint and endpoint not in made:
            made.clear()
            made[endpoint] = Otlp(endpoint)
        return made[endpoint] if endpoint else None

    return Tracer(engine.parts, store.log, store.traced, collector, on_trouble)


def open_library(workspace: Workspace, *, cache: bool = True) -> Library:
    """The procedures alone. Uses the database as a cache where one exists, and makes none."""
    return Library(workspace, cache=_existing_cache(workspace) if cache else None)


def _seal(store: SqliteStore, library: Library, now: datetime) -> tuple[str, ...]:
    """Signs on the store that has just written. Imported here: readers never sign."""
    from sopwith.audit.sealing import Sealer

    return Sealer(store.log, library.workspace, library.config).seal(now)


def _tombstones(store: SqliteStore) -> Sequence[bytes]:
    return store.log.tombstones()


def _restorations(store: SqliteStore) -> Sequence[bytes]:
    return store.log.restorations()


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
