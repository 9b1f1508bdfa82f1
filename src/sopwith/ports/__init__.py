"""What the engine needs from the world, as Protocols. One sentence per promise; `testing/contract` proves each.

Everything here is synchronous and quick, except an executor's watch, which is the one thing a driver waits for.

One file holds one noun, and is imported when a name of it is first asked for: a short command needs few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sopwith.ports.bell import Bell as Bell
    from sopwith.ports.bell import Ear as Ear
    from sopwith.ports.channel import ChannelKind as ChannelKind
    from sopwith.ports.channel import Messenger as Messenger
    from sopwith.ports.channel import Premises as Premises
    from sopwith.ports.clock import Clock as Clock
    from sopwith.ports.clock import Ids as Ids
    from sopwith.ports.deliveries import CURSOR as CURSOR
    from sopwith.ports.deliveries import Accepted as Accepted
    from sopwith.ports.deliveries import Deliveries as Deliveries
    from sopwith.ports.deliveries import Delivery as Delivery
    from sopwith.ports.deliveries import FileStamp as FileStamp
    from sopwith.ports.deliveries import Folder as Folder
    from sopwith.ports.deliveries import Move as Move
    from sopwith.ports.deliveries import NewDelivery as NewDelivery
    from sopwith.ports.executor import AgentOrder as AgentOrder
    from sopwith.ports.executor import Confidential as Confidential
    from sopwith.ports.executor import Executor as Executor
    from sopwith.ports.executor import ExecutorKind as ExecutorKind
    from sopwith.ports.executor import ExecutorKinds as ExecutorKinds
    from sopwith.ports.executor import Lost as Lost
    from sopwith.ports.executor import Sought as Sought
    from sopwith.ports.executor import Stray as Stray
    from sopwith.ports.executor import Watch as Watch
    from sopwith.ports.executor import WorkOrder as WorkOrder
    from sopwith.ports.log import DroppedRun as DroppedRun
    from sopwith.ports.log import KeptCheckpoint as KeptCheckpoint
    from sopwith.ports.log import Log as Log
    from sopwith.ports.log import LogEnd as LogEnd
    from sopwith.ports.log import LogEntry as LogEntry
    from sopwith.ports.log import Seals as Seals
    from sopwith.ports.notices import NewNotice as NewNotice
    from sopwith.ports.notices import Notice as Notice
    from sopwith.ports.notices import NoticeEnd as NoticeEnd
    from sopwith.ports.notices import Notices as Notices
    from sopwith.ports.notices import Outcome as Outcome
    from sopwith.ports.notices import ReadingCursor as ReadingCursor
    from sopwith.ports.notices import Tally as Tally
    from sopwith.ports.records import LEASE as LEASE
    from sopwith.ports.records import RENEW_SECS as RENEW_SECS
    from sopwith.ports.records import AskingFilter as AskingFilter
    from sopwith.ports.records import Batch as Batch
    from sopwith.ports.records import Claim as Claim
    from sopwith.ports.records import Lease as Lease
    from sopwith.ports.records import Owner as Owner
    from sopwith.ports.records import RunFilter as RunFilter
    from sopwith.ports.records import RunSummary as RunSummary
    from sopwith.ports.store import Cache as Cache
    from sopwith.ports.store import Store as Store
    from sopwith.ports.tokens import AccessEntry as AccessEntry
    from sopwith.ports.tokens import TokenRow as TokenRow
    from sopwith.ports.tokens import TokenStore as TokenStore
    from sopwith.ports.views import Views as Views
    from sopwith.ports.workspace import FOLDER as FOLDER
    from sopwith.ports.workspace import VERIFICATIONS as VERIFICATIONS
    from sopwith.ports.workspace import Workspace as Workspace
    from sopwith.ports.workspace import verification_name as verification_name

_NOUNS = {
    "bell": "Bell Ear",
    "channel": "ChannelKind Messenger Premises",
    "clock": "Clock Ids",
    "deliveries": "Accepted CURSOR Deliveries Delivery FileStamp Folder Move NewDelivery",
    "executor": "AgentOrder Confidential Executor ExecutorKind ExecutorKinds Lost Sought Stray Watch WorkOrder",
    "log": "DroppedRun KeptCheckpoint Log LogEnd LogEntry Seals",
    "notices": "NewNotice Notice NoticeEnd Notices Outcome ReadingCursor Tally",
    "records": "AskingFilter Batch Claim LEASE Lease Owner RENEW_SECS RunFilter RunSummary",
    "store": "Cache Store",
    "tokens": "AccessEntry TokenRow TokenStore",
    "views": "Views",
    "workspace": "FOLDER VERIFICATIONS Workspace verification_name",
}
_PLACES = {name: noun for noun, names in _NOUNS.items() for name in names.split()}


if not TYPE_CHECKING:  # a checker of types shall know a wrong name

    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__} has no attribute {name}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
        return found
