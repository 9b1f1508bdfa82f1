"""What a procedure is once both of its files are read and merged: the value that a run pins by digest.

Nothing here reads files; `parse/` makes these values and `core/` only looks at them.
"""

import re
from enum import StrEnum
from typing import Any

import msgspec

from sopwith.core import digest
from sopwith.core.address import StepId, number_of
from sopwith.core.approval import ApprovalRules
from sopwith.errors import BadName

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
_RESERVED = r"runs|keys|index\.json|config\.json|runs\.db.*"
MAX_INTEGER = 2**53 - 1
"""The largest integer that JSON carries exactly everywhere (RFC 8785); larger ones cannot be recorded."""


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


class ExecutionMode(StrEnum):
    AUTO = "auto"
    SUPERVISED = "supervised"
    STEP_BY_STEP = "step_by_step"
    PRIORITY_BASED = "priority_based"


class ParameterType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ENUM = "enum"
    SECRET = "secret"  # noqa: S105 - a type, not a secret


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One declared parameter. `values` holds the choices of an enum; `pattern` must match the whole value."""

    name: str
    type: ParameterType = ParameterType.STRING
    required: bool = False
    default: str | int | float | bool | None = None
    values: tuple[str, ...] = ()
    pattern: str | None = None
    description: str = ""


class EnvironmentRules(msgspec.Struct, frozen=True, kw_only=True):
    """Beyond the allow-list: variables passed from the driver's environment, and variables set here."""

    pass_: tuple[str, ...] = msgspec.field(default=(), name="pass")
    set_: dict[str, str] = msgspec.field(default_factory=dict, name="set")


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What a shell step runs: the interpreter (`bash`, `sh` or `python3`) and the exact text, UTF-8 with LF."""

    interpreter: str
    text: str


class RetryRules(msgspec.Struct, frozen=True, kw_only=True):
    """How often a failed step is tried again by itself. `max_attempts` counts the first one.

    The delay before try n is `delay_secs` * `backoff` ** (n - 2), `max_delay_secs` at most; `on_exit_codes` empty: any.
    """

    max_attempts: int
    delay_secs: int | float = 1
    backoff: int | float = 1
    max_delay_secs: int | float | None = None
    on_exit_codes: tuple[int, ...] = ()


class OnFailure(StrEnum):
    """What a step's failure does to the run, once its retries are used up."""

    STOP = "stop"
    CONTINUE = "continue"
    GOTO = "goto"
    ROLLBACK = "rollback"


class OnInterrupt(StrEnum):
    """What is done where nobody can know how far an attempt of a step came."""

    ASK = "ask"
    RERUN = "rerun"
    FAIL = "fail"
    VERIFY = "verify"


class InterruptRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step's `onInterrupt`, where it is not to ask. `command`: the line that bash runs to verify."""

    policy: OnInterrupt
    command: str = ""


class OnReject(StrEnum):
    """What it does to the run that a step's gate is answered with no."""

    PAUSE = "pause"
    FAIL = "fail"
    GOTO = "goto"


class RollbackScript(msgspec.Struct, frozen=True, kw_only=True):
    """What undoes a step that was completed. `requires_approval`: the step's gate asks before it runs."""

    script: Script
    requires_approval: bool = False


Item = str | int | float | bool
"""An item that a file names. What CEL comes to may be any JSON value."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `depends_on` holds step numbers and is already resolved: in a plain list, the step before."""

    number: int
    title: str
    body: str = ""
    key: str | None = None
    executor: str = "manual"
    agent: str | msgspec.UnsetType = msgspec.UNSET
    """Whose command carries the step out, with executor agent; unset: the default one's. Left out of the bytes then."""
    script: Script | None = None
    requires_approval: bool = False
    approval_timeout_mins: int | float | None = None
    never_times_out: bool = False
    """The file names a timeout that nobody can read: wait for ever, the config's default does not apply either."""
    approval: ApprovalRules | None = None
    """The rules of this step's gate; None: the procedure's."""
    pins: tuple[str, ...] = ()
    """Files, relative to the working directory, whose bytes belong to what is approved."""
    depends_on: tuple[int, ...] = ()
    condition: str | None = None
    """`if`, in CEL: where it does not hold the step is skipped."""
    for_each: str | tuple[Item, ...] | None = None
    """The items that the step is done for, each on its own: as they are, or in CEL."""
    max_parallel: int | None = None
    """For how many items the step may be under way at once; None: for all."""
    timeout_secs: int | float | None = None
    retry: RetryRules | None = None
    on_failure: OnFailure = OnFailure.STOP
    goto: int | None = None
    """The step that a failure leads to, with `on_failure` goto."""
    on_reject: OnReject = OnReject.PAUSE
    reject_goto: int | None = None
    """The step that a rejection leads to, with `on_reject` goto."""
    on_interrupt: InterruptRules | msgspec.UnsetType = msgspec.UNSET
    """Unset: a person is asked. Left out of the bytes then, which are what they were before there was this key."""
    verify: Script | msgspec.UnsetType = msgspec.UNSET
    """What must end with exit code 0 before a report that a step by hand is done is believed. Left out likewise."""
    rollback: RollbackScript | None = None
    uses: str | None = None
    """The procedure that the step runs, as a run of its own."""
    with_: dict[str, Item] = msgspec.field(default_factory=dict, name="with")
    """The parameters of that run: text is CEL, everything else stands for itself."""
    wait_secs: int | float | None = None
    wait_until: str | None = None
    """When a wait ends: RFC 3339."""
    suggested_tools: tuple[str, ...] = ()
    env: EnvironmentRules = EnvironmentRules()
    working_dir: str | None = None
    outputs: dict[str, str] = msgspec.field(default_factory=dict)
    """Declared outputs: name -> type (string, integer, number, boolean, json)."""


class TriggerType(StrEnum):
    MANUAL = "manual"
    WEBHOOK = "webhook"
    CRON = "cron"
    FILESYSTEM = "filesystem"
    PROCEDURE = "procedure"


class Scheme(StrEnum):
    """How a webhook proves where it comes from."""

    STANDARD = "standard-webhooks"
    GITHUB = "github"
    TIMESTAMPED = "timestamped"
    TOKEN = "token"  # noqa: S105 - a scheme, not a secret


class Misfire(StrEnum):
    """What becomes of the times of a schedule that came while nobody served."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


class Change(StrEnum):
    """What happened to a file."""

    CREATED = "created"
    MODIFIED = "modified"
    DELETED = "deleted"


class End(StrEnum):
    """How a run of another procedure ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AdmissionRule(StrEnum):
    """What a trigger does where limits keep its run from starting at once."""

    QUEUE = "queue"
    REJECT = "reject"
    COALESCE = "coalesce"


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """What may start the procedure besides a person. What a kind of trigger has not, and what nobody said, is left out
    of the bytes; `core/triggers.py` says what holds then.
    """

    type: str
    path: str | None = None
    """A webhook's path, or the files that a filesystem trigger watches."""
    key: str | msgspec.UnsetType = msgspec.UNSET
    """Its name among the triggers of the procedure."""
    secret_env: str | msgspec.UnsetType = msgspec.UNSET
    """The variables that hold the secret, separated by spaces."""
    scheme: Scheme | msgspec.UnsetType = msgspec.UNSET
    signature_header: str | msgspec.UnsetType = msgspec.UNSET
    id_header: str | msgspec.UnsetType = msgspec.UNSET
    expression: str | msgspec.UnsetType = msgspec.UNSET
    timezone: str | msgspec.UnsetType = msgspec.UNSET
    misfire: Misfire | msgspec.UnsetType = msgspec.UNSET
    events: tuple[Change, ...] | msgspec.UnsetType = msgspec.UNSET
    settle_secs: int | float | msgspec.UnsetType = msgspec.UNSET
    procedure: str | msgspec.UnsetType = msgspec.UNSET
    status: tuple[End, ...] | msgspec.UnsetType = msgspec.UNSET
    condition: str | msgspec.UnsetType = msgspec.UNSET
    """In CEL, over `event`: where it does not hold nothing starts."""
    params: dict[str, Item] | msgspec.UnsetType = msgspec.UNSET
    """The parameters of the run: text is CEL over `event`, everything else stands for itself."""
    admission: AdmissionRule | msgspec.UnsetType = msgspec.UNSET
    max_queued: int | msgspec.UnsetType = msgspec.UNSET


class Procedure(msgspec.Struct, frozen=True, kw_only=True):
    """The merged procedure. `execution_mode` None means that neither file names one."""

    name: str
    title: str
    description: str = ""
    overview: str = ""
    version: str = "1.0.0"
    priority: Priority = Priority.NORMAL
    execution_mode: ExecutionMode | None = None
    cooldown_secs: int = 0
    max_concurrent: int | None = None
    concurrency_group: str | None = None
    """In CEL: of the runs for which it gives the same text, only one at a time holds a slot."""
    triggers: tuple[Trigger, ...] = (Trigger(type="manual"),)
    runners: tuple[str, ...] = ()
    """Who may start it, as principals; none: everybody who may start anything."""
    approval: ApprovalRules | None = None
    """The rules of the start approval, and of every gate that has none of its own."""
    parameters: tuple[Parameter, ...] = ()
    env: EnvironmentRules = EnvironmentRules()
    working_dir: str | None = None
    max_parallel: int | None = None
    """How many steps may run at once in one run; None: as many as can."""
    timeout_secs: int | float | None = None
    """How long a whole run may take from its start; None: as long as it takes."""
    on_failure: OnFailure = OnFailure.STOP
    """What a failure does in steps that do not say, and what it does that the run's time is up."""
    steps: tuple[Step, ...] = ()

    def step(self, step: StepId) -> Step:
        """The step of this address; that of an instance is its step. Raises KeyError."""
        number = step if type(step) is int else number_of(step)
        # asked hundreds of times in each run, so without another call
        if number > 0:
            try:
                return self.steps[number - 1]
            except IndexError:
                pass
        raise KeyError(step)

    def find_step(self, number: int) -> Step | None:
        """The step with this number, or None. Numbers run 1, 2, 3 … without a gap."""
        return self.steps[number - 1] if 0 < number <= len(self.steps) else None


def check_name(name: str) -> str:
    """`name`, if a procedure may have it; BadName otherwise, before any path is built from it."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise BadName(
            f"{name[:80]!r} is not a procedure name",
            hint="a name starts with a-z or 0-9 and goes on with a-z 0-9 . _ - (64 characters at most)",
        )
    if re.fullmatch(_RESERVED, name):
        raise BadName(
            f"no procedure can be called {name}: the workspace keeps its own files under that name",
            hint="choose another name; runs, keys, index.json, config.json and runs.db… are taken",
        )
    return name


# made at import: msgspec crashes where several threads meet a type for the first time
_DECODER = msgspec.json.Decoder(Procedure)
_ENCODER = msgspec.json.Encoder(order="sorted")
_MANY = 10_000
"""So many lists and objects are rare in one value, unless it has no end."""


def encode_procedure(procedure: Procedure) -> bytes:
    """The canonical bytes (RFC 8785) that a run pins."""
    return canonical(msgspec.to_builtins(procedure))


def decode_procedure(data: bytes) -> Procedure:
    """The reverse of `encode_procedure`."""
    return _DECODER.decode(data)


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value.

    Raises ValueError for what JSON cannot carry: NaN, integers past MAX_INTEGER, what holds itself.
    """
    try:
        if _is_plain(value):
            return _ENCODER.encode(value)
    except (TypeError, UnicodeEncodeError):
        pass  # a name that is no text, half a character: said below as all else is
    except RecursionError:
        raise _endless() from None
    import rfc8785  # seldom needed

    try:
        return rfc8785.dumps(value)
    except RecursionError:
        raise _endless() from None


def _endless() -> ValueError:
    return ValueError("a list or an object holds itself, or they are nested too deep")


def _is_plain(value: Any) -> bool:
    """Whether the encoder of msgspec, many times as fast, writes the same bytes.

    Raises TypeError for odd names, RecursionError for what holds itself.
    """
    # one loop and no call for each value: all that is recorded passes here, and most of it is text
    containers, many = [(value,)], _MANY
    for container in containers:
        if len(containers) > many:
            _ENCODER.encode(value)  # which finds an end, or that there is none
            many *= 10
        for each in container:
            kind = type(each)
            if kind is str or kind is bool or each is None:
                continue  # every encoder writes them alike
            if kind is int:
                if not -MAX_INTEGER <= each <= MAX_INTEGER:
                    return False
            elif kind is dict:
                if each:
                    # other characters are put in order as UTF-16 by RFC 8785, and as UTF-8 by msgspec
                    if not "".join(each).isascii():
                        return False
                    containers.append(each.values())
            elif kind is list or kind is tuple:
                containers.append(each)
            # whole, tiny and huge fractions are written in other ways
            elif kind is not float or not 0.0001 <= abs(each) < 1e15 or each.is_integer():
                return False
    return True


def sha256(data: bytes) -> str:
    """SHA-256 in lower-case hex: the name under which contents are stored and referred to."""
    return digest.sha256(data).hexdigest()
