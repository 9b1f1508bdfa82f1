"""What the engine needs from the world, as Protocols. One sentence per promise; `testing/contract` proves each.

Everything here is synchronous and quick, except an executor's watch, which is the one thing a driver waits for.

Longer than other files, because this is the whole contract: who writes an adapter reads it once, in one place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from sopwith.core.run import RunStatus
from sopwith.errors import BadRequest, Problem

if TYPE_CHECKING:
    from sopwith.core.admission import Occupancy
    from sopwith.core.codec import SealedEvent
    from sopwith.core.commands import StepResult
    from sopwith.core.instant import Instant
    from sopwith.core.messages import Message
    from sopwith.core.notifications import ChannelConfig
    from sopwith.core.procedure import Step

FOLDER = Path(".pi") / "sops"


class Workspace(msgspec.Struct, frozen=True):
    """Where a workspace keeps its files. `root` is the project folder, absolute: the one that holds `.pi`.

    Its path is recorded and printed as text: one that is not UTF-8 is a BadRequest.
    """

    root: Path

    def __post_init__(self) -> None:
        try:
            str(self.root).encode()
        except UnicodeEncodeError:
            shown = str(self.root).encode(errors="backslashreplace").decode()
            raise BadRequest(
                f"the path of the workspace is not UTF-8: {shown}", hint="rename the folder, or use another"
            ) from None

    @property
    def sops(self) -> Path:
        return self.root / FOLDER

    @property
    def database(self) -> Path:
        return self.sops / "runs.db"

    @property
    def runs(self) -> Path:
        return self.sops / "runs"

    @property
    def keys(self) -> Path:
        return self.sops / "keys"

    @property
    def index(self) -> Path:
        return self.sops / "index.json"

    @property
    def config(self) -> Path:
        return self.sops / "config.json"

    def run_folder(self, run_id: str) -> Path:
        """Logs, attempts and evidence of one run."""
        return self.runs / run_id


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> Instant:
        """The present, wall and boot clock read together."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after this long, or sooner if cancelled."""
        ...


class Ids(Protocol):
    """The only source of chance."""

    def run_id(self) -> str:
        """`sop_run_` and 12 characters of base32, never the same twice."""
        ...

    def nonce(self) -> str:
        """32 hexadecimal digits that nobody could have foreseen."""
        ...


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What lists, limits and timers read of a run without replaying it; written with every append."""

    run_id: str
    name: str
    version: str
    status: RunStatus
    seq: int
    mode: str
    priority: str
    current_step: int
    total_steps: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    ended_at: datetime | None = None
    due_at: datetime | None = None
    """The earliest deadline of an open gate."""
    holds_slot: bool
    executed: bool
    procedure_digest: str
    concurrency_group: str = ""
    """As it was created; empty: none."""
    parent: str = ""
    """The run within which it runs."""
    asks: int = 0
    """How many things of it wait for a person, as `core.asking` counts them."""
    left_at: datetime | None = None
    """From when on something is to be carried out that no person need decide (`core.due.left_at`)."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One append: the events in order, the summary after them, and contents they refer to by SHA-256."""

    events: tuple[SealedEvent, ...]
    summary: RunSummary
    contents: tuple[bytes, ...] = ()


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The process that drives a run: enough to tell whether it still lives, on this host and this boot."""

    owner_id: str
    host: str
    pid: int
    process_started: str
    boot_id: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to drive a run; `epoch` grows with each new claim and fences off the writers of older ones."""

    run_id: str
    epoch: int
    owner: Owner


LEASE = timedelta(seconds=60)
"""How long a claim keeps other hosts away after it was made or renewed last."""
RENEW_SECS = 20.0
"""How often a driver renews what it still drives."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim tells those who can't see its lock: who made it, and how long it holds without being renewed."""

    owner: Owner
    until: datetime

    def keeps_out(self, asking: Owner, now: datetime) -> bool:
        """Whether `asking` has to wait though the lock can be had: only a process of another host, while it holds.

        The same boot is the same kernel, also under another name (a container), and its lock tells all. The same name
        in a later boot is a restarted host: whoever claimed before is dead.
        """
        is_here = asking.boot_id == self.owner.boot_id or asking.host == self.owner.host
        return not is_here and now < self.until


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which summaries to list; None means any."""

    name: str | None = None
    names: tuple[str, ...] | None = None
    """Of these procedures; not together with `name`."""
    statuses: tuple[RunStatus, ...] = ()
    limit: int | None = None
    before: str | None = None
    """Only runs that were made before this one, which changes nothing in how many there are in all."""

    @property
    def procedures(self) -> tuple[str | None, ...]:
        """The names of those that are meant, each once; None stands for all."""
        return (self.name,) if self.names is None else tuple(dict.fromkeys(self.names))


class AskingFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs the inbox may have something of: those that ask, and those that are left `now`."""

    now: datetime
    names: tuple[str, ...] | None = None
    """Of these procedures only."""
    after: str | None = None
    """Only runs that were made after this one, which changes nothing in how much there is in all."""
    limit: int | None = None


class Store(Protocol):
    """Keeps runs. The only writes of run state are `create` and `append`; each is one durable transaction."""

    def create(self, name: str, plan: Callable[[Occupancy], Batch], *, group: str = "") -> Batch:
        """Calls `plan` with what holds slots now, inside the transaction, and stores the batch it returns.

        `group`: the concurrency group of the run that is to be made, empty for none. What `plan` raises is passed on
        and nothing is stored.
        """
        ...

    def append(
        self,
        run_id: str,
        after_seq: int,
        batch: Batch,
        *,
        claim: Claim | None = None,
        admit: Callable[[Occupancy], None] | None = None,
    ) -> None:
        """Stores the batch if the run's last event is `after_seq`; raises Conflict otherwise, storing nothing.

        With `claim`, raises Conflict if a newer claim was made. With `admit`, calls it inside the transaction with
        what other runs hold and passes on what it raises. An acknowledged batch survives any crash.
        """
        ...

    def events(self, run_id: str, after_seq: int = 0) -> tuple[SealedEvent, ...]:
        """The run's events with a greater seq, in order; empty for an unknown run."""
        ...

    def summary(self, run_id: str) -> RunSummary | None:
        """The run's summary, or None."""
        ...

    def correct(self, summary: RunSummary, head: str) -> bool:
        """Puts this summary in place of the stored one, if it differs and the run's last event still is `head`.

        For `sop doctor`: a summary can be made again from the events at any time. Changes no event.
        """
        ...

    def recount(self, *, mend: bool) -> bool:
        """Whether what is counted along, for lists, is not what the runs' summaries say; puts that right if asked."""
        ...

    def summaries(self, which: RunFilter) -> tuple[tuple[RunSummary, ...], int]:
        """The newest first, up to the limit, and how many there are in all."""
        ...

    def names(self) -> tuple[str, ...]:
        """The procedures of which there are runs, in alphabetical order."""
        ...

    def asking(self, which: AskingFilter) -> tuple[RunSummary, ...]:
        """Every run that asks, or is left and perhaps driven, the oldest first, up to the limit."""
        ...

    def asked(self, which: AskingFilter) -> int:
        """How many things all of them ask, and how many more of them are left and driven by nobody."""
        ...

    def due(self, now: datetime, limit: int) -> tuple[str, ...]:
        """Runs with a deadline at or before `now`, the longest overdue first."""
        ...

    def content(self, digest: str) -> bytes | None:
        """The bytes that some batch stored under this SHA-256, or None."""
        ...

    def claim(self, run_id: str, owner: Owner, now: datetime) -> Claim | None:
        """The claim, with a lock that the kernel frees when this process dies; None while a living owner holds it.

        None as well while the lease of a claim that was made on another host has not run out (`Lease.keeps_out`).
        """
        ...

    def renew(self, claim: Claim, now: datetime) -> None:
        """The claim's lease begins anew; raises Conflict, changing nothing, if a newer claim was made."""
        ...

    def lease(self, run_id: str) -> Lease | None:
        """The lease of the newest claim, if it was not given back; who claimed may be dead, and the lease over."""
        ...

    def release(self, claim: Claim) -> None:
        """Gives the claim back; a claim that was taken over is left alone."""
        ...

    def holder(self, run_id: str) -> Owner | None:
        """Who drives the run now, or None if nobody alive does, as far as this host's locks tell."""
        ...

    def version(self) -> int:
        """A number that changes when anybody else commits; cheap enough to ask five times a second."""
        ...

    def check(self) -> list[str]:
        """What is wrong with the stored data, a sentence each; empty when all is well."""
        ...

    def close(self) -> None:
        """Frees files and locks; claims of this store end with it."""
        ...


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is kept. `hash` is its SHA-256; `procedures` are patterns of names, none: all."""

    id: str
    hash: bytes
    name: str
    kind: str
    role: str
    procedures: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    last_used_at: datetime | None = None


class AccessEntry(msgspec.Struct, frozen=True):
    """One entry of the server's own log; `hash` covers `prev_hash` and `payload`."""

    position: int
    event_type: str
    at: datetime
    prev_hash: bytes
    hash: bytes
    payload: bytes


class TokenStore(Protocol):
    """Keeps who may call over the network, and the server's own log. Each write is one durable transaction."""

    def token(self, token_id: str) -> TokenRow | None:
        """The token of this id, whether or not it still holds."""
        ...

    def tokens(self) -> tuple[TokenRow, ...]:
        """All of them, the oldest first."""
        ...

    def add(self, token: TokenRow, entry: Callable[[bytes], AccessEntry]) -> None:
        """Keeps a new token together with the entry that tells of it, which is made from the hash of the last one."""
        ...

    def revoke(self, token_id: str, by: str, now: datetime, entry: Callable[[bytes], AccessEntry]) -> bool:
        """Ends a token, with the entry that tells of it; False, changing nothing, for one that was revoked before."""
        ...

    def used(self, token_id: str, now: datetime, entry: Callable[[bytes], AccessEntry]) -> None:
        """Notes a sign-in."""
        ...

    def tell(self, entry: Callable[[bytes], AccessEntry]) -> None:
        """Adds an entry to the log."""
        ...

    def prune(self, last: AccessEntry, entry: Callable[[bytes], AccessEntry]) -> bool:
        """Drops the entries up to this one, and adds the one that tells of it; False where this one is gone already."""
        ...

    def entries(self, *, limit: int, before: int | None = None) -> tuple[AccessEntry, ...]:
        """Entries of the log below a position, the newest first."""
        ...

    def entries_after(self, position: int, limit: int) -> tuple[AccessEntry, ...]:
        """Entries of the log beyond a position, in order."""
        ...

    def newest_of(self, event_type: str) -> AccessEntry | None:
        """The newest entry of this type, or None."""
        ...

    def high_water(self) -> int:
        """The greatest position that an entry ever had."""
        ...


class Cache(Protocol):
    """Keeps what can be made again. The SQLite store is one."""

    def recall(self, key: str) -> bytes | None:
        """A cached value; a cache may forget."""
        ...

    def remember(self, key: str, value: bytes) -> None:
        """Caches a value; failing to is no error."""
        ...


class Confidential(msgspec.Struct, frozen=True, kw_only=True):
    """What must be neither kept nor shown: an executor masks it in all that it emits and leaves behind."""

    values: tuple[str, ...] = ()
    digest: str = ""
    """Tells whether these are the values that an attempt was started with; empty where it is given none."""


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """A command that config.json has, and where its program is: on this PATH, or from this folder."""

    command: tuple[str, ...]
    path: str
    root: Path


class AgentOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent's step takes besides: its command, and the text that it reads."""

    sought: Sought
    task: bytes


class WorkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """All an executor may know to carry out one attempt. Paths are absolute; parameters arrive only as data."""

    run_id: str
    name: str
    step: Step
    instance: str = ""
    """Which instance of the step, where it is done for each of several items."""
    visit: int
    attempt: int
    folder: Path
    """This attempt's own folder, made before the intent was recorded: without it nobody can know what became of it."""
    working_dir: Path
    environment: Mapping[str, str]
    """The whole environment of the process, SOP_* variables included."""
    parameters_json: bytes
    event_json: bytes | None = None
    """What happened outside and started the run, for the step to read; None where nothing did."""
    umask: int
    output_types: Mapping[str, str]
    confidential: Confidential = Confidential()
    withheld: str = ""
    """Why an attempt that never became a process must not become one now; what runs or has ended is still taken."""
    agent: AgentOrder | None = None
    """Of a step that an agent's command carries out."""
    verifies: int = 0
    """Not 0: it does not carry the attempt out, but finds out whether it was, the first time, or the second …; `folder`
    is its own, within the attempt's."""
    intended_boot: str
    """The boot in which the intent to start was recorded: marks of processes do not outlive a power cut."""
    this_boot: str


VERIFICATIONS = "verify*"
"""Matches the names that `verification_name` gives."""


def verification_name(number: int) -> str:
    """The folder, in that of its attempt, of the attempt's first, second … verification."""
    return "verify" if number == 1 else f"verify-{number}"


class Lost(msgspec.Struct, frozen=True):
    """The attempt was started, and nobody can know how it ended. `still_runs`: something that it started does."""

    reason: str
    output: str = ""
    still_runs: bool = False


class Watch(Protocol):
    """A started attempt."""

    def wait(self) -> Awaitable[StepResult | Lost]:
        """How the attempt ended, or Lost if its keeper died. Cancelling the wait leaves the process alone."""
        ...

    def stop(self) -> Awaitable[None]:
        """Ends the process and all it started: TERM, five seconds of grace, KILL. `wait` then tells the result."""
        ...


class Executor(Protocol):
    """Carries out one kind of step in a process of its own."""

    def start(self, order: WorkOrder, on_output: Callable[[bytes], None]) -> Awaitable[Watch]:
        """Starts the attempt, at most once ever for this order. Called right after its intent was recorded."""
        ...

    def recover(self, order: WorkOrder, on_output: Callable[[bytes], None]) -> Awaitable[Watch | Lost]:
        """Finds out what became of an attempt that a dead driver may have started.

        Goes on watching it, or takes its result (a Watch whose wait returns at once), or starts it if it provably
        never started, or tells that it is Lost.
        """
        ...


class Stray(msgspec.Struct, frozen=True, kw_only=True):
    """A living process of an attempt that nobody watches. `pid` and `started` name it for good."""

    run_id: str
    step: str
    visit: int
    attempt: int
    pid: int
    started: str
    command: str


class ExecutorKind(msgspec.Struct, frozen=True, kw_only=True):
    """How a kind of step registers itself: by name, with what it can do and how it is checked."""

    name: str
    needs_script: bool
    by_hand: bool = False
    """A person or an agent carries the step out; there is no Executor."""
    make: Callable[[], Executor] | None = None
    check: Callable[[Step], Iterator[Problem]] | None = None
    locate: Callable[[Step, Mapping[str, str], Path], str | None] | None = None
    """Which program the step's environment and folder lead to, for the envelope; None if there is none."""
    locate_command: Callable[[Sought], str | None] | None = None
    """The same for a command that config.json has."""
    find_strays: Callable[[Path, Iterable[str]], tuple[Stray, ...]] | None = None
    """The strays in a folder of runs; these runs are searched more thoroughly."""
    end_strays: Callable[[Callable[[], tuple[Stray, ...]]], tuple[Stray, ...]] | None = None
    """Ends whatever is found, until nothing more is; tells what could not be ended. Blocks meanwhile."""


class ExecutorKinds(Protocol):
    """The kinds of steps that are installed here."""

    def kind(self, name: str) -> ExecutorKind:
        """The kind called `name`. Raises BadRequest if nothing registers it."""
        ...


class Views(Protocol):
    """Files that show what the store holds; the store is the truth."""

    def written(self, batch: Batch, run_json: Callable[[], bytes] | None) -> None:
        """Called after each commit; brings the event file up to date, and the state file where `run_json` is given.

        Failing to is never an error of the run.
        """
        ...

    def rebuild(self, run_id: str, run_json: Callable[[], bytes | None]) -> bool:
        """Makes the run's files anew from the store where they differ from it; tells whether they did.

        `run_json` is asked while nobody else writes; None leaves the state file alone.
        """
        ...

    def outdated(self, run_id: str, run_json: Callable[[], bytes | None]) -> bool:
        """Whether `rebuild` would change anything now; changes nothing."""
        ...


class Bell(Protocol):
    """Tells whoever serves the workspace that a run has changed. Only a hint: the store is asked what is true."""

    def ring(self, run_id: str, *, left: bool = False) -> None:
        """Never fails, never blocks; a word may be lost, come late or come twice.

        `left`: whoever rings does not drive the run on; whoever hears it need not leave it time to.
        """
        ...


class Ear(Protocol):
    """The other end of the bell, in the process that serves the workspace."""

    def listen(self, hear: Callable[[str, bool], None]) -> None:
        """From now on calls `hear(run_id, left)` for each word, between two steps of the running event loop.

        Nobody vouches for what was said: there may be no such run. Raises OSError where nothing can be heard here.
        """
        ...

    def close(self) -> None:
        """Hears no more."""
        ...


class LogEntry(msgspec.Struct, frozen=True):
    """One event as it lies in the log, unjudged; `run_seq` and `run_head` are what its run's row says of the last one.

    What belongs to the run is None where that row is missing; `payload` is None where retention dropped it.
    """

    position: int
    run_id: str | None
    seq: int
    event_type: str
    at_ms: int
    """Milliseconds since 1970-01-01 UTC."""
    prev_hash: bytes
    hash: bytes
    payload: bytes | None
    run_seq: int | None
    run_head: bytes | None


class LogEnd(msgspec.Struct, frozen=True):
    """How far the log ever went, by what the store remembers, and a run that has no events at all, if there is one."""

    high_water: int
    empty_run: str | None = None


class Log(Protocol):
    """All events of all runs in the order in which they were stored: positions 1, 2, 3 … without a gap."""

    def reading(self) -> AbstractContextManager[object]:
        """Reads inside all see the same state."""
        ...

    def leaves(self, after_position: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Positions and hashes of the next events."""
        ...

    def entries(self, after_position: int, limit: int) -> Sequence[LogEntry]:
        """The next events, whole."""
        ...

    def run_entries(self, run_id: str, after_seq: int, limit: int) -> Sequence[LogEntry]:
        """The next events of one run in the order of their seq."""
        ...

    def end(self) -> LogEnd:
        """What must be there."""
        ...


class KeptCheckpoint(msgspec.Struct, frozen=True):
    """A signed checkpoint over the first `size` events, and the frontier that the next one grows from."""

    size: int
    line: bytes
    frontier: bytes


class DroppedRun(msgspec.Struct, frozen=True):
    """A run whose payloads go, as it was when that was decided; `contents` go with them."""

    run_id: str
    seq: int
    head: str
    contents: tuple[str, ...] = ()


class Seals(Protocol):
    """The signed statements about the log, kept beside it."""

    def newest_checkpoint(self) -> KeptCheckpoint | None:
        """The checkpoint of the greatest size."""
        ...

    def checkpoints(self, after_size: int, limit: int) -> Sequence[KeptCheckpoint]:
        """The next checkpoints by size."""
        ...

    def keep_checkpoint(self, checkpoint: KeptCheckpoint) -> bool:
        """Keeps it durably; False, changing nothing, if there is one of this size."""
        ...

    def tombstones(self) -> Sequence[bytes]:
        """The lines given to `drop_payloads`, oldest first."""
        ...

    def restorations(self) -> Sequence[bytes]:
        """The lines that were kept when this database was restored from a backup, oldest first."""
        ...

    def drop_payloads(self, runs: Sequence[DroppedRun], line: bytes) -> None:
        """Drops all payloads of these runs and their contents, and keeps the line, in one durable transaction.

        Raises Conflict, changing nothing, if a run's last event is not the one named.
        """
        ...


class NewNotice(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be told over one channel of the event at `position` of the log."""

    position: int
    channel: str
    moment: str
    run_id: str
    message: bytes
    """A `core.messages.Message` as JSON."""


class NoticeEnd(StrEnum):
    """What became of a notice. `dropped`: there was nothing to tell any more."""

    SENT = "sent"
    DROPPED = "dropped"
    GIVEN_UP = "given_up"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A notice as it is kept. It waits while `ended` is None; `told` is what came back of the last try, or why."""

    id: int
    position: int
    channel: str
    moment: str
    run_id: str
    message: bytes
    made_at: datetime
    attempts: int = 0
    next_at: datetime | None = None
    ended: NoticeEnd | None = None
    ended_at: datetime | None = None
    told: str = ""


class ReadingCursor(Protocol):
    """How far somebody has read the log; durable."""

    def read(self) -> int | None:
        """The position; None: it was never begun."""
        ...

    def move(self, position: int | None) -> None:
        """On to there, or, with None, as if it had never begun."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """What became of one delivery of a trigger."""

    id: int
    procedure: str
    trigger: str
    outcome: str
    settled_at: datetime


class Tally(Protocol):
    """What triggers brought, to be counted."""

    def settled(self, since: datetime, limit: int) -> Sequence[Outcome]:
        """What was settled at that time or later, the earliest first."""
        ...

    def waiting(self) -> tuple[int, datetime | None]:
        """How many deliveries nobody has carried out yet, and since when the first of them waits."""
        ...


class Notices(Protocol):
    """What is to be told of the log, until it was, and how far the log was read for it. All writes are durable."""

    def cursor(self) -> int | None:
        """The position up to which notices were made; None: it was never begun."""
        ...

    def begin(self, position: int | None) -> None:
        """Reads on from there, or, with None, not at all; what waits stays."""
        ...

    def add(self, notices: Sequence[NewNotice], *, read_to: int, now: datetime) -> None:
        """Keeps them, due now, and moves the cursor, in one transaction.

        One that is there for this position and channel already is left as it is.
        """
        ...

    def waiting(self) -> Mapping[str, datetime]:
        """The channels that have something waiting, and when the first of it is due."""
        ...

    def due(self, channel: str, now: datetime, limit: int) -> Sequence[Notice]:
        """What is due over a channel, the longest waiting first."""
        ...

    def settle(self, ids: Sequence[int], ended: NoticeEnd, now: datetime, told: str) -> None:
        """These wait no more; a try is counted unless they were dropped. What has ended stays as it is."""
        ...

    def put_off(self, until: Mapping[int, datetime], told: str) -> None:
        """These were tried in vain, and are due again then."""
        ...

    def hurry(self, now: datetime, latest: datetime) -> None:
        """What is due after `latest` is due now: the clock was set back."""
        ...

    def newest(self, limit: int) -> Sequence[Notice]:
        """The newest first."""
        ...

    def prune(self, before: datetime) -> int:
        """Drops what ended before that; tells how many."""
        ...


class Messenger(Protocol):
    """One channel, ready to send."""

    def send(self, message: Message) -> str:
        """Blocks until the other side took the message, 20 seconds at most; tells what came back, in a few words.

        Raises NotSent, whose words hold no secret.
        """
        ...


class Premises(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel may use of the process that sends: its environment, the project folder, the time."""

    environ: Mapping[str, str]
    root: Path
    now: Callable[[], Instant]


class ChannelKind(msgspec.Struct, frozen=True, kw_only=True):
    """How a kind of channel registers itself. `make` reads secrets from the environment; raises NotSent without."""

    name: str
    make: Callable[[ChannelConfig, Premises], Messenger]


CURSOR = "trigger:"
"""What the names of the cursors of triggers begin with."""


class NewDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened outside, for one trigger. `run_id`: of the run that it makes, if it makes one.

    `outcome`: where it is settled already, with its reason; empty: it is to be carried out.
    """

    procedure: str
    trigger: str
    delivery: str
    event: bytes
    received_at: datetime
    run_id: str
    outcome: str = ""
    reason: str = ""


class Delivery(NewDelivery, frozen=True, kw_only=True):
    """A delivery as it is kept; `number` grows with each."""

    number: int
    settled_at: datetime | None = None
    digest: bytes = b""
    """The SHA-256 of the event as it was accepted; empty where an older version has kept it."""

    @property
    def is_whole(self) -> bool:
        """Whether the event is what was accepted, as far as that can be told."""
        return not self.digest or hashlib.sha256(self.event).digest() == self.digest


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """How far a source of events has come, or, with `path`, what it knows of a file; `value` None: nothing any more."""

    name: str
    value: str | None
    path: str = ""


class Accepted(msgspec.Struct, frozen=True):
    """A delivery as it is kept now, and whether it was not before."""

    delivery: Delivery
    is_new: bool


class Deliveries(Protocol):
    """Keeps what happened outside until it has been carried out, and some time longer for those who ask."""

    def accept(self, new: Sequence[NewDelivery], moves: Sequence[Move] = ()) -> tuple[Accepted, ...]:
        """Keeps all of them, and moves cursors, in one durable transaction. One that is kept already stays as it is.

        What is the same: procedure, trigger and delivery.
        """
        ...

    def waiting(self, after: int, limit: int) -> tuple[Delivery, ...]:
        """Those with a greater number that nobody has carried out, the oldest first."""
        ...

    def waiting_of(self, procedure: str, trigger: str) -> int:
        """How many of one trigger nobody has carried out."""
        ...

    def settle(
        self,
        number: int,
        outcome: str,
        *,
        run_id: str,
        reason: str,
        now: datetime,
        holds: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Says what became of it; False, changing nothing, if somebody said so before, or if `holds` does not.

        `holds` is asked inside the transaction, and reads only.
        """
        ...

    def delivery(self, number: int) -> Delivery | None:
        """The delivery of this number, or None."""
        ...

    def trigger_of(self, run_id: str) -> tuple[str, str] | None:
        """Procedure and trigger of a delivery that is settled with this run, or would make it; None: there is none."""
        ...

    def newest(self, before: int, limit: int) -> tuple[Delivery, ...]:
        """Those with a smaller number, the newest first."""
        ...

    def prune(self, before: datetime) -> None:
        """Forgets what was settled before this time."""
        ...

    def cursor(self, name: str) -> str | None:
        """How far the source of this name has come; None: it has not begun."""
        ...

    def files(self, name: str) -> Mapping[str, str]:
        """What the source of this name knows, by path."""
        ...


class FileStamp(msgspec.Struct, frozen=True, kw_only=True):
    """What tells that a file has changed, without reading it."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int


class Folder(Protocol):
    """The project folder, as triggers see it: regular files only, and no link is followed."""

    def scan(self, pattern: str) -> Mapping[str, FileStamp]:
        """The files that the pattern matches, by path; none where their folder is not there. Raises WorkspaceError."""
        ...

    def digest(self, path: str, stamp: FileStamp) -> str | None:
        """The SHA-256 of the file, read from one descriptor; None if it is another one than the stamp says."""
        ...
