"""The `approval` objects of both files -> the rules of a gate, and what is wrong with them (decision 0008).

Who decides must be said once: where the files differ about that it is an error. For the rest the stricter one wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

from sopwith.core.approval import ApprovalRules, FieldType, FormField, FormValue, TimeoutAction
from sopwith.core.conditions import Wanted, check, evaluate, names_in, unknown_status
from sopwith.core.confidential import handed_on, secret_in
from sopwith.core.forms import value_of
from sopwith.core.patterns import check_pattern
from sopwith.core.people import GROUP
from sopwith.core.procedure import Procedure, Step
from sopwith.core.run import StepStatus
from sopwith.core.scope import scope_of
from sopwith.parse.findings import Findings, Place, shown
from sopwith.parse.model import FormFile
from sopwith.parse.pair import Pair

_MAX_CONDITIONS = 100
_MAX_CONDITION_CHARACTERS = 16 * 1024
_MAX_UNSOUND = 10
_IN_A_STEP_ONLY = (TimeoutAction.SKIP, TimeoutAction.FAIL)


def read_approval(around: Pair) -> ApprovalRules | None:
    """The rules that the files state for a step, or for the procedure; None where neither has an `approval`."""
    pair = around.part("approval")
    if pair is None:
        return None
    return ApprovalRules(
        when=_once(pair, "when"),
        approvers=_once(pair, "approvers", normal=_as_set) or (),
        quorum=_stricter(pair, "quorum", max, "the larger one wins"),
        allow_self_approval=_stricter(pair, "allow_self_approval", min, "it is not allowed"),
        comment_required=bool(_stricter(pair, "comment_required", max, "it is required")),
        form=_fields(_once(pair, "form")),
        on_timeout=_once(pair, "on_timeout"),
        escalate_to=_once(pair, "escalate_to", normal=_as_set) or (),
        remind_after_mins=pair.pick("remind_after_mins") or (),
    )


def read_rejection(pair: Pair, around: Pair) -> str:
    """What a rejection at the gate of a step does, without blanks; `around` is the procedure's pair."""
    ours, theirs = around.both("on_reject")
    return _without_blanks(_once(pair, "on_reject", normal=_without_blanks) or theirs or ours or "pause")


def _without_blanks(said: str) -> str:
    return said.replace(" ", "")


def check_approvals(procedure: Procedure, around: Pair, findings: Findings) -> None:
    """Reports rules that cannot be what their author means. The procedure's steps are those of the pair."""
    _check_whole(procedure, around, findings)
    _once(around, "on_reject")
    conditions: list[Stated] = []
    for index, step in enumerate(procedure.steps):
        if step.condition is not None:
            conditions.append(Stated(index + 1, step.condition, around.step(index).at("if_")))
        for name, expression in step.with_.items():
            if isinstance(expression, str) and handed_on(procedure, expression) is None:
                at = around.step(index).at("with_", name)
                conditions.append(Stated(index + 1, expression, at, Wanted.VALUE, item=True))
        if isinstance(step.for_each, str):
            conditions.append(Stated(index + 1, step.for_each, around.step(index).at("for_each"), Wanted.LIST))
        pair = around.step(index).part("approval")
        if pair is None or step.approval is None:
            continue
        _check_rules(step.approval, pair, findings)
        _check_form(step.approval, pair, findings)
        _check_times(step, step.approval, pair, findings)
        if step.approval.when is not None:
            conditions.append(Stated(index + 1, step.approval.when, pair.at("when"), item=True))
    check_conditions(procedure, conditions, findings)


def _as_set(principals: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(principals)))


def _once(pair: Pair, field: str, *, normal: Callable[[Any], Any] = lambda value: value) -> Any:
    """What one of the files says, or both alike."""
    ours, theirs = pair.both(field)
    if ours is not None and theirs is not None and normal(ours) != normal(theirs):
        assert pair.sop_md is not None
        key = pair.key(field)
        pair.findings.error(
            "approval_differs",
            f"expected {key} as at {pair.sop_md.at(key)}, {_written(ours)}, got {_written(theirs)}",
            at=pair.at(field),
            expected=_written(ours),
            got=_written(theirs),
            hint="who decides must be said once: take it out of one of the files",
        )
    return ours if theirs is None else theirs


def _stricter(pair: Pair, field: str, choose: Callable[[Any, Any], Any], wins: str) -> Any:
    ours, theirs = pair.both(field)
    if ours is None or theirs is None or ours == theirs:
        return ours if theirs is None else theirs
    pair.drift(field, ours, theirs, wins=wins)
    return choose(ours, theirs)


def _written(value: Any) -> str:
    return ", ".join(value)[:100] if isinstance(value, tuple) else shown(value)


def _fields(form: FormFile | None) -> tuple[FormField, ...]:
    if form is None:
        return ()
    return tuple(
        FormField(
            name=name,
            type=field.type,
            title=": ".join(part for part in (field.title, field.description) if part),
            required=name in (form.required or ()),
            default=field.default,
            values=field.enum or (),
            pattern=field.pattern,
            minimum=field.minimum,
            maximum=field.maximum,
        )
        for name, field in form.properties.items()
    )


def _check_whole(procedure: Procedure, around: Pair, findings: Findings) -> None:
    """The procedure's own rules: they hold for the start too, and there is no step there to skip or to ask about."""
    pair, rules = around.part("approval"), procedure.approval
    if pair is None or rules is None:
        return
    _check_rules(rules, pair, findings)
    _check_reminders(rules, None, pair, findings)
    for field, stated in (("when", rules.when), ("form", rules.form or None)):
        if stated is not None:
            findings.error(
                "in_a_step_only",
                f"expected {field} in a step's approval, got it in the procedure's",
                at=pair.at(field),
                hint="move it into the approval of the step that it is about",
            )
    if rules.on_timeout in _IN_A_STEP_ONLY:
        findings.unexpected(
            "in_a_step_only",
            expected="approve, reject, escalate or pause for the whole procedure",
            got=shown(rules.on_timeout),
            at=pair.at("on_timeout"),
            hint="there is no step before the start: say it in the approval of a step",
        )


def _check_rules(rules: ApprovalRules, pair: Pair, findings: Findings) -> None:
    _check_timeout_is_said(rules, pair, findings)
    for field in ("approvers", "escalate_to"):
        named: tuple[str, ...] = getattr(rules, field)
        if repeated := _repeated(named):
            findings.error(
                "repeated_approver",
                f"expected each of {pair.key(field)} once, got {repeated} again",
                at=pair.at(field),
                hint="take it out: nobody's approval counts twice",
            )
    people = {name.partition(":")[2] for name in rules.approvers if not name.startswith(GROUP)}
    groups = any(name.startswith(GROUP) for name in rules.approvers)
    if rules.approvers and not groups and rules.votes_needed > len(people):
        findings.unexpected(
            "quorum_too_large",
            expected=f"a quorum of at most {len(people)}, as many as the approvers are",
            got=str(rules.votes_needed),
            at=pair.at("quorum"),
            hint="name more approvers, or lower the quorum: nobody could ever pass this gate",
        )


def _check_timeout_is_said(rules: ApprovalRules, pair: Pair, findings: Findings) -> None:
    if rules.on_timeout is None and (rules.approvers or rules.quorum is not None):
        field = "approvers" if rules.approvers else "quorum"
        findings.error(
            "no_on_timeout",
            f"expected onTimeout beside {field}, got none: silence would approve",
            at=pair.at(field),
            hint="say what happens when nobody answers: reject, escalate, skip, pause, fail or approve",
        )
    if rules.on_timeout is TimeoutAction.ESCALATE and not rules.escalate_to:
        findings.error(
            "escalate_to_nobody",
            "expected escalateTo beside onTimeout escalate, got none",
            at=pair.at("on_timeout"),
            hint="name who may answer then, such as group:oncall",
        )
    if rules.escalate_to and rules.on_timeout is not TimeoutAction.ESCALATE:
        findings.unexpected(
            "never_escalated",
            expected="onTimeout escalate beside escalateTo",
            got=shown(rules.on_timeout) if rules.on_timeout else "none",
            at=pair.at("escalate_to"),
            hint="make onTimeout escalate, or take escalateTo out",
        )
    elif rules.escalate_to and not rules.approvers:
        findings.warning(
            "escalated_to_everybody",
            "any person may answer this gate already: escalateTo lets in nobody else",
            at=pair.at("escalate_to"),
            hint="name approvers, or take escalateTo out",
        )


def _check_times(step: Step, rules: ApprovalRules, pair: Pair, findings: Findings) -> None:
    _check_reminders(rules, step.approval_timeout_mins, pair, findings)
    needless = rules.on_timeout is not None and not rules.approvers and rules.quorum is None
    if step.never_times_out and needless:
        findings.warning(
            "never_times_out",
            f"the gate waits for ever, so {shown(rules.on_timeout)} never happens",
            at=pair.at("on_timeout"),
            hint="take onTimeout out, or give the gate an approval timeout",
        )


def _check_reminders(rules: ApprovalRules, timeout: int | float | None, pair: Pair, findings: Findings) -> None:
    minutes = rules.remind_after_mins
    if any(later <= earlier for earlier, later in pairwise(minutes)):
        findings.error(
            "reminders_out_of_order",
            f"expected minutes that grow, got {', '.join(str(each) for each in minutes)}",
            at=pair.at("remind_after_mins"),
            hint="put them in order, each once",
        )
    elif minutes and timeout is not None and minutes[0] >= timeout:
        findings.warning(
            "reminders_too_late",
            f"the gate is settled after {timeout} minutes, before its first reminder at {minutes[0]}",
            at=pair.at("remind_after_mins"),
            hint="remind earlier, or take remindAfterMins out",
        )


class Stated(NamedTuple):
    """An expression in CEL, of which step and where; `item`: it may name the item of an instance."""

    number: int
    expression: str
    at: Place
    wanted: Wanted = Wanted.TRUTH
    item: bool = False


def check_conditions(procedure: Procedure, conditions: Iterable[Stated], findings: Findings) -> None:
    """Whether each expression could be evaluated. Bounded: compiling thousands of them would hold up a caller."""
    size = unsound = 0
    for count, (number, expression, at, wanted, item) in enumerate(conditions, start=1):
        size += len(expression)
        if count > _MAX_CONDITIONS or size > _MAX_CONDITION_CHARACTERS:
            findings.unexpected(
                "too_many_conditions",
                expected=f"at most {_MAX_CONDITIONS} conditions, {_MAX_CONDITION_CHARACTERS} characters in all",
                got="more",
                at=at,
                hint="make the conditions shorter, or split the procedure",
            )
            return
        wrong = check(expression, scope_of(procedure, number, item=item), wanted)
        if wrong is not None and (secret := secret_in(procedure, expression)) is not None:
            unsound += 1
            findings.unexpected(
                "secret_in_expression",
                expected="an expression without secrets",
                got=f"{shown(expression)}, which names the secret params.{secret}",
                at=at,
                hint=f"only with may hand it on, as it is: params.{secret}; a script has SOP_PARAM_{secret.upper()}",
            )
        elif wrong is not None:
            unsound += 1
            findings.unexpected(
                "bad_condition",
                expected="a CEL condition" if wanted is Wanted.TRUTH else f"a CEL expression that gives {wanted}",
                got=f"{shown(expression)}: {wrong}",
                at=at,
                hint="it may name params, run, event.type; and status, outputs, approval of steps that this depends on",
            )
        elif (word := unknown_status(expression)) is not None:
            unsound += 1
            statuses = [status.value for status in StepStatus]
            findings.unexpected(
                "unknown_status",
                expected="a status that a step can have",
                got=shown(word),
                at=at,
                hint=findings.did_you_mean(word, statuses) or f"it may be {', '.join(statuses)}",
            )
        elif wanted is Wanted.TRUTH and not names_in(expression) and evaluate(expression, {}, {}).result is False:
            findings.warning(
                "never_true",
                f"{shown(expression)} is never true: with if the step never runs, with when nobody is ever asked",
                at=at,
                hint="name what it depends on, or take it out",
            )
        if unsound >= _MAX_UNSOUND:
            return


def _check_form(rules: ApprovalRules, pair: Pair, findings: Findings) -> None:
    for side in (pair.sop_md, pair.manifest):
        form: FormFile | None = getattr(side.statement, "form", None) if side else None
        for name in form.required or () if form else ():
            if form is not None and name not in form.properties:
                findings.unexpected(
                    "unknown_field",
                    expected="the name of a property",
                    got=shown(name),
                    at=pair.at("form", "required"),
                    hint=findings.did_you_mean(name, form.properties) or "add the property, or take it out of required",
                )
    for field in rules.form:
        for key, expected, got, hint in _mistakes_of(field):
            findings.unexpected(
                "bad_field", expected=expected, got=got, at=pair.at("form", "properties", field.name, key), hint=hint
            )


def _mistakes_of(field: FormField) -> list[tuple[str, str, str, str]]:
    """The key, what was expected, what was there and what to do, for each mistake of a field."""
    mistakes: list[tuple[str, str, str, str]] = []
    if field.pattern is not None:
        mistakes += _pattern_mistakes(field, field.pattern)
    if mistakes:
        return mistakes
    numeric = field.type in (FieldType.INTEGER, FieldType.NUMBER)
    for key, bound in (("minimum", field.minimum), ("maximum", field.maximum)):
        if bound is not None and not numeric:
            mistakes.append((key, "a bound of a number only", f"type {field.type}", f"take {key} out"))
    if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
        mistakes.append(("maximum", f"at least the minimum, {field.minimum}", str(field.maximum), "swap them"))
    plain = FormField(
        name=field.name, type=field.type, pattern=field.pattern, minimum=field.minimum, maximum=field.maximum
    )
    for choice in field.values:
        if (wrong := _misfit(plain, choice)) is not None:
            mistakes.append(("enum", wrong, shown(choice), "change the choice, or the type"))
            break
    if field.default is not None and not mistakes and (wrong := _misfit(field, field.default)) is not None:
        mistakes.append(("default", wrong, shown(field.default), "change the default, or the field"))
    return mistakes


def _pattern_mistakes(field: FormField, pattern: str) -> list[tuple[str, str, str, str]]:
    if field.type is not FieldType.STRING:
        return [("pattern", "a pattern of text only", f"type {field.type}", "take the pattern out")]
    try:
        check_pattern(pattern)
    except ValueError as error:
        hint = "write it without look-around and back-references, and with small repeat counts"
        return [("pattern", "a regular expression in RE2's syntax", f"{shown(pattern)}: {error}", hint)]
    return []


def _misfit(field: FormField, value: FormValue) -> str | None:
    """What was expected instead of a value that the file itself gives: here nothing is converted."""
    kinds = {
        FieldType.STRING: isinstance(value, str),
        FieldType.BOOLEAN: isinstance(value, bool),
        FieldType.INTEGER: isinstance(value, int) and not isinstance(value, bool),
        FieldType.NUMBER: isinstance(value, int | float) and not isinstance(value, bool),
    }
    if not kinds[field.type]:
        return f"a value of type {field.type}"
    try:
        value_of(field, value)
    except ValueError as error:
        return str(error)
    return None


def _repeated(names: tuple[str, ...]) -> str | None:
    return next((name for at, name in enumerate(names) if name in names[:at]), None)
