"""What every use case is given: the adapters behind the ports and the facts of this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from sopwith.engine.auditing import Auditing
from sopwith.engine.switchboard import NoBell, Switchboard

if TYPE_CHECKING:
    from sopwith.engine.keys import Keyring
    from sopwith.engine.library import Library
    from sopwith.ports import Bell, Clock, ExecutorKinds, Ids, Owner, Store, Views, Workspace


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """`environ` and `umask` are those of the process that creates or drives a run."""

    workspace: Workspace
    store: Store
    views: Views
    library: Library
    kinds: ExecutorKinds
    clock: Clock
    ids: Ids
    keyring: Keyring
    owner: Callable[[], Owner]
    environ: Mapping[str, str]
    umask: int
    auditing: Auditing = msgspec.field(default_factory=Auditing)
    bell: Bell = msgspec.field(default_factory=NoBell)
    switchboard: Switchboard | None = None
    """Wakes the drivers of this process at a change of their run; None: they look for themselves, often."""
