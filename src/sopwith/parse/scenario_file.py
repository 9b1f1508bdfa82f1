"""A scenario file -> the scenario of a procedure, or every problem found in it. Never raises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import asdict

from sopwith import errors
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.address import StepId
from sopwith.core.config import Config
from sopwith.core.events import EventBody, GateBody, StepBody
from sopwith.core.procedure import Procedure, Trigger, TriggerType
from sopwith.core.run import StepStatus
from sopwith.core.scope import scope_of_event
from sopwith.core.trigger_events import BadEvent, encode_event
from sopwith.core.triggers import Outcome, find_trigger, name_of
from sopwith.errors import Problem
from sopwith.parse.config import ConfigFile, checked_config
from sopwith.parse.findings import Findings, Place, shown
from sopwith.parse.parsed import SourceFile
from sopwith.parse.scenario import Act, Expectation, ExpectedEvent, Happening, Pass, Scenario, Stub, Verb
from sopwith.parse.scenario_model import ActFile, ExpectFile, ScenarioFile, ScriptStub, Span, StepStub
from sopwith.parse.shape import read_shape
from sopwith.parse.source import read_text
from sopwith.parse.step_address import START, find_step, steps_hint
from sopwith.parse.strict_json import Path
from sopwith.parse.toml import TomlDocument, read_toml
from sopwith.parse.values import Unreadable, seconds

SOMEBODY = "somebody"
"""Starts the run where the scenario names nobody."""
MAX_SECS = 10 * 366 * 86400
_ALWAYS = frozenset({"do", "by", "after", "refused"})
_TAKES: Mapping[Verb, frozenset[str]] = {
    Verb.APPROVE: frozenset({"step", "comment", "form"}),
    Verb.REJECT: frozenset({"step", "reason"}),
    Verb.COMPLETE: frozenset({"step", "comment", "output"}),
    Verb.FAIL: frozenset({"step", "reason", "output"}),
    Verb.SKIP: frozenset({"step", "reason"}),
    Verb.RETRY: frozenset({"step", "reason"}),
    Verb.RESUME: frozenset(),
    Verb.PAUSE: frozenset({"reason"}),
    Verb.CANCEL: frozenset({"reason"}),
    Verb.ROLLBACK: frozenset({"reason"}),
}
_AT_GATES = (Verb.APPROVE, Verb.REJECT)
_JSON_TYPES: Mapping[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}
_BODIES = {str(body.__struct_config__.tag): body for body in EventBody.__args__}
_REFUSALS = sorted(
    {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.SopwithError) and kind.exit_code in (2, 5)
    }
)


def read_scenario(source: SourceFile, procedure: Procedure) -> tuple[Scenario | None, tuple[Problem, ...]]:
    """The scenario, None if it has errors; and every problem found."""
    findings = Findings()
    text = read_text(source, findings)
    document = read_toml(source.path, text, findings) if text is not None else None
    stated = read_shape(document.value, ScenarioFile, document, findings) if document is not None else None
    scenario = None
    if stated is not None and document is not None and not findings.has_errors:
        scenario = _Reader(procedure, document, findings).scenario(stated)
    return None if findings.has_errors else scenario, findings.sorted()


class _Reader:
    """Reads one scenario for one procedure."""

    def __init__(self, procedure: Procedure, document: TomlDocument, findings: Findings) -> None:
        self._procedure = procedure
        self._document = document
        self._findings = findings

    def scenario(self, stated: ScenarioFile) -> Scenario:
        stubs = dict(self._by_step(stated.steps, ("steps",)))
        return Scenario(
            name=self._document.file.rpartition("/")[2].removesuffix(".toml"),
            description=stated.description,
            mode=stated.mode,
            params=dict(stated.params),
            starter=_actor(stated.started_by or SOMEBODY),
            happening=self._happening(stated),
            starts_at=self._instant(stated.starts_at, ("starts_at",)),
            config=None if stated.config is None else self._config(stated.config),
            stubs={number: self._stub(stub, path, number) for number, (stub, path) in stubs.items()},
            rollbacks=dict(self._rollbacks(stubs)),
            verifications=dict(self._verifications(stubs)),
            acts=tuple(
                act
                for index, each in enumerate(stated.acts or ())
                if (act := self._act(each, ("acts", index))) is not None
            ),
            expect=self._expectation(stated.expect),
        )

    # what starts it

    def _happening(self, stated: ScenarioFile) -> Happening | None:
        if stated.trigger is None:
            if stated.event is not None:
                hint = f'add trigger = "NAME": {self._triggers_hint()}'
                self._error("missing_key", "an event comes to a trigger, and none is named", ("event",), hint)
            if stated.expect.outcome is not None:
                hint = "name a trigger, or take it out"
                self._error("two_keys", "only an event has an outcome", ("expect", "outcome"), hint)
            return None
        for name, value in (("params", stated.params), ("started_by", stated.started_by), ("mode", stated.mode)):
            if value:
                self._error("two_keys", f"a trigger starts the run: it takes no {name}", (name,), "take it out")
        trigger = find_trigger(self._procedure, stated.trigger)
        if trigger is None or trigger.type == TriggerType.MANUAL:
            hint = self._findings.did_you_mean(stated.trigger, self._triggers) or self._triggers_hint()
            self._unexpected(f"a trigger of {self._procedure.name}", stated.trigger, ("trigger",), hint)
            return None
        return Happening(trigger=trigger, event=self._event_of(trigger, stated.event or {}))

    def _event_of(self, trigger: Trigger, stated: dict[str, Any]) -> dict[str, Any]:
        known = {name.removeprefix("event.") for name in scope_of_event(trigger.type)} - {"type"}
        for name in sorted(stated.keys() - known):
            hint = f"it may have {', '.join(sorted(known))}"
            self._error("unknown_key", f"an event of type {trigger.type} has no {name}", ("event", name), hint)
        try:
            encode_event(stated)
        except BadEvent as error:
            self._error("bad_value", f"the event cannot be used: {error}", ("event",), "let it bring less")
        return stated

    @property
    def _triggers(self) -> list[str]:
        return [name_of(each) for each in self._procedure.triggers if each.type != TriggerType.MANUAL]

    def _triggers_hint(self) -> str:
        return f"one of {', '.join(self._triggers)}" if self._triggers else f"{self._procedure.name} has none"

    # steps

    def _by_step(self, said: Mapping[str, Any], path: Path) -> Iterator[tuple[StepId, tuple[Any, Path]]]:
        """Step number -> what is said of it and where; a step that is named twice is a problem."""
        seen: set[StepId] = set()
        for address, value in said.items():
            number = self._step(address, (*path, address))
            if number is None:
                continue
            if number in seen:
                self._error(
                    "duplicate_key", f"step {number} is told twice", (*path, address), "by number or by key: keep one"
                )
            seen.add(number)
            yield number, (value, (*path, address))

    def _step(self, said: int | str, path: Path) -> StepId | None:
        """The step's number; None, and a problem, if there is no such step."""
        number = find_step(self._procedure, said)
        if number is None:
            self._error(
                "unknown_step",
                f"expected a step of {self._procedure.name}, got {shown(said)}",
                path,
                steps_hint(self._procedure, said),
            )
        return number

    def _stub(self, stub: StepStub, path: Path, number: StepId) -> Stub:
        step = self._procedure.step(number)
        if step.script is None and step.executor in ("manual", "wait"):
            how = "a person reports how it went" if step.executor == "manual" else "it only waits"
            if stub != StepStub(rollback=stub.rollback, verify=stub.verify):
                self._error("not_played", f"step {number} runs nothing: {how}", path, "take it out")
        for name, value in stub.outputs.items():
            declared = step.outputs.get(name, "json")
            if not _fits(value, declared):
                self._unexpected(f"{_article(declared)}, as the step declares", value, (*path, "outputs", name))
        return self._script(stub, path, outputs=stub.outputs)

    def _rollbacks(self, stubs: Mapping[StepId, tuple[StepStub, Path]]) -> Iterator[tuple[StepId, Stub]]:
        for number, (stub, path) in stubs.items():
            if stub.rollback is None:
                continue
            if self._procedure.step(number).rollback is None:
                self._error("not_played", f"step {number} has no rollback script", (*path, "rollback"), "take it out")
            yield number, self._script(stub.rollback, (*path, "rollback"), outputs={})

    def _verifications(self, stubs: Mapping[StepId, tuple[StepStub, Path]]) -> Iterator[tuple[StepId, Stub]]:
        for number, (stub, path) in stubs.items():
            if stub.verify is None:
                continue
            if not self._procedure.step(number).verify:
                self._error("not_played", f"step {number} has no verify", (*path, "verify"), "take it out")
            yield number, self._script(stub.verify, (*path, "verify"), outputs={})

    def _script(self, stub: ScriptStub, path: Path, *, outputs: dict[str, Any]) -> Stub:
        if stub.exit_code is not None and stub.exit_codes is not None:
            self._error("two_keys", "exit_code and exit_codes say the same thing", path, "keep one of them")
        if stub.exit_codes == ():
            self._unexpected("one exit code at least", (), (*path, "exit_codes"))
        return Stub(
            exit_codes=stub.exit_codes or (stub.exit_code or 0,),
            outputs=outputs,
            output=stub.output or "",
            takes_secs=self._secs(stub.takes, (*path, "takes")),
            interrupted=stub.interrupted,
        )

    # acts

    def _acts(self, stated: tuple[ActFile, ...]) -> tuple[Act | Pass, ...]:
        read = (self._act(each, ("acts", index)) for index, each in enumerate(stated))
        return tuple(act for act in read if act is not None)

    def _act(self, stated: ActFile, path: Path) -> Act | Pass | None:
        said = frozenset(name for name in stated.__struct_fields__ if getattr(stated, name) is not None)
        if "wait" in said:
            for name in sorted(said - {"wait"}):
                self._error("two_keys", "while a wait lasts nobody acts", (*path, name), "make it an act of its own")
            return Pass(secs=self._secs(stated.wait, (*path, "wait")))
        for name in ("do", "by"):
            if name not in said:
                hint = f'add {name}; an act is do = "approve" and by = "alice", or wait = "10m"'
                self._error("missing_key", f'expected the key "{name}"', path, hint)
        if stated.do is None or stated.by is None:
            return None
        takes = _TAKES[stated.do]
        for name in sorted(said - takes - _ALWAYS):
            hint = f"{stated.do} takes {', '.join(sorted(takes | _ALWAYS - {'do'}))}"
            self._error("unknown_key", f"{stated.do} takes no {name}", (*path, name), hint)
        if "reason" in takes and stated.do in (Verb.REJECT, Verb.FAIL, Verb.SKIP) and not (stated.reason or "").strip():
            self._error("missing_key", f"{stated.do} needs a reason", path, 'add reason = "why"')
        if stated.refused is not None:
            self._refusal(stated.refused, (*path, "refused"))
        return self._done(stated, stated.do, stated.by, path)

    def _done(self, stated: ActFile, verb: Verb, by: str, path: Path) -> Act:
        at_start = stated.step == START and verb in _AT_GATES
        named = stated.step is not None and not at_start
        return Act(
            verb=verb,
            actor=_actor(by),
            step=self._step(stated.step or 0, (*path, "step")) if named else None,
            at_start=at_start,
            comment=stated.comment or "",
            reason=stated.reason or "",
            output=stated.output or "",
            form=dict(stated.form or {}),
            after_secs=self._secs(stated.after, (*path, "after")),
            refused=stated.refused or "",
        )

    # what is expected

    def _expectation(self, stated: ExpectFile) -> Expectation:
        if all(value in (None, (), {}) for value in asdict(stated).values()):
            self._error("empty", "nothing is expected, so nothing is tested", ("expect",), 'say status = "completed"')
        if stated.refused is not None:
            self._refusal(stated.refused, ("expect", "refused"))
            if stated != ExpectFile(refused=stated.refused):
                hint = "take the rest out, or take refused out"
                self._error("two_keys", "a start that is refused makes no run to look at", ("expect",), hint)
        if stated.outcome is not None and stated != ExpectFile(outcome=stated.outcome):
            hint = "take the rest out, or take outcome out"
            self._error("two_keys", "an event of which no run comes leaves none to look at", ("expect",), hint)
        return Expectation(
            status=stated.status,
            steps=self._statuses(stated.steps),
            outputs={number: value for number, (value, _) in self._by_step(stated.outputs, ("expect", "outputs"))},
            events=self._events(stated.events or (), ("expect", "events")),
            never=self._events(stated.never or (), ("expect", "never")),
            with_failures=stated.with_failures,
            nothing_ran=stated.nothing_ran,
            rolled_back=stated.rolled_back,
            refused=stated.refused or "",
            params=dict(stated.params or {}),
            outcome=None if stated.outcome is None else Outcome(stated.outcome),
        )

    def _statuses(self, said: Mapping[str, StepStatus]) -> dict[StepId, StepStatus]:
        return {number: status for number, (status, _) in self._by_step(said, ("expect", "steps"))}

    def _events(self, said: tuple[str, ...], path: Path) -> tuple[ExpectedEvent, ...]:
        read = (self._event(text, (*path, index)) for index, text in enumerate(said))
        return tuple(event for event in read if event is not None)

    def _event(self, text: str, path: Path) -> ExpectedEvent | None:
        event_type, _, address = text.strip().partition(" ")
        address = address.strip()
        body = _BODIES.get(event_type)
        if body is None:
            hint = self._findings.did_you_mean(event_type, _BODIES) or "the reference of events lists all"
            self._unexpected("the type of an event", text, path, hint)
            return None
        at_start = address == START and issubclass(body, GateBody)
        if address and not issubclass(body, StepBody | GateBody):
            self._error("bad_value", f"{event_type} is about no step", path, f'write "{event_type}"')
            return None
        step = self._step(address, path) if address and not at_start else None
        return ExpectedEvent(event_type=event_type, step=step, at_start=at_start, written=text.strip())

    def _refusal(self, code: str, path: Path) -> None:
        if code not in _REFUSALS:
            hint = self._findings.did_you_mean(code, _REFUSALS) or f"one of {', '.join(_REFUSALS)}"
            self._unexpected("the code of a refusal", code, path, hint)

    # single values

    def _config(self, stated: ConfigFile) -> Config | None:
        return checked_config(stated, _Within(self._document, ("config",)), self._findings)

    def _instant(self, text: str | None, path: Path) -> datetime | None:
        if text is None:
            return None
        try:
            at = datetime.fromisoformat(text.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            self._unexpected("a time with its zone, such as 2026-12-01T08:00:00Z", text, path)
            return None
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    def _secs(self, said: Span | None, path: Path) -> float:
        """A span in seconds; nothing said is none."""
        try:
            secs = seconds(said) if isinstance(said, str) else said or 0
        except Unreadable:
            secs = -1
        if not 0 <= secs <= MAX_SECS:
            self._unexpected('a time such as "30s" or "5m", ten years at most', said, path)
            return 0
        return secs

    def _unexpected(self, expected: str, got: Any, path: Path, hint: str = "") -> None:
        self._error("bad_value", f"expected {expected}, got {shown(got)}", path, hint or f"write {expected}")

    def _error(self, code: str, message: str, path: Path, hint: str) -> None:
        self._findings.error(code, message, at=self._document.at(path), hint=hint)


class _Within:
    """The places of a part of a document."""

    def __init__(self, document: TomlDocument, path: Path) -> None:
        self._document = document
        self._path = path

    def at(self, path: Path) -> Place:
        return self._document.at((*self._path, *path))

    at_key = at


def _actor(who: str) -> Actor:
    kind = ActorKind.AGENT if who.startswith("agent:") else ActorKind.HUMAN
    return Actor(who.removeprefix("agent:").removeprefix("user:"), kind, "rehearsal")


def _fits(value: Any, declared: str) -> bool:
    if declared == "json":
        return True
    if isinstance(value, bool):
        return declared == "boolean"
    return isinstance(value, _JSON_TYPES.get(declared, ()))


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
