"""What every use case is given: the adapters behind the ports and the facts of this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sopwith.engine.keys import Keyring
from sopwith.engine.library import Library
from sopwith.plugins import Registry
from sopwith.ports import Clock, Ids, Owner, Store, Views
from sopwith.settings import Workspace


@dataclass(frozen=True, kw_only=True)
class Parts:
    """`environ` and `umask` are those of the process that creates or drives a run."""

    workspace: Workspace
    store: Store
    views: Views
    library: Library
    registry: Registry
    clock: Clock
    ids: Ids
    keyring: Keyring
    owner: Callable[[], Owner]
    environ: Mapping[str, str]
    umask: int
