"""Triggers as the files state them: which keys belong to which type, and values that nobody could act on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UNSET

from sopwith.core.globs import pattern_mistake
from sopwith.core.procedure import Procedure, Scheme, Trigger, TriggerType
from sopwith.core.schedule import check_expression, zone_of
from sopwith.core.triggers import lacking, mistakes_of, name_of
from sopwith.parse.findings import Findings, Place, shown
from sopwith.parse.model import TriggerFile
from sopwith.parse.pair import Pair
from sopwith.parse.sheet import Sheet

_WEBHOOK_PATH = re.compile(r"/(?!.*(//|/\.{1,2}(/|$)))[A-Za-z0-9._~!$&'()*+,;=:@/-]{0,199}")
_OF_ALL = ("key", "condition", "params", "admission", "max_queued")
_KEYS: Mapping[TriggerType, tuple[str, ...]] = {
    TriggerType.MANUAL: (),
    TriggerType.WEBHOOK: ("path", "secret_env", "scheme", "signature_header", "id_header", *_OF_ALL),
    TriggerType.CRON: ("expression", "timezone", "misfire", *_OF_ALL),
    TriggerType.FILESYSTEM: ("path", "events", "settle_secs", *_OF_ALL),
    TriggerType.PROCEDURE: ("procedure", "status", *_OF_ALL),
}
_NEEDS = {
    TriggerType.WEBHOOK: ("path", "a path", "/deploy/production"),
    TriggerType.CRON: ("expression", "an expression", "30 2 * * *"),
    TriggerType.FILESYSTEM: ("path", "a path", "incoming/*.csv"),
    TriggerType.PROCEDURE: ("procedure", "a procedure", "build"),
}
_CAMEL = {
    "secret_env": "secretEnv",
    "signature_header": "signatureHeader",
    "id_header": "idHeader",
    "settle_secs": "settleSecs",
    "max_queued": "maxQueued",
}
_SCHEMES_WITH_HEADERS: Mapping[str, tuple[Scheme, ...]] = {
    "signature_header": (Scheme.TIMESTAMPED,),
    "id_header": (Scheme.TIMESTAMPED, Scheme.TOKEN),
}


def read_triggers(stated: tuple[TriggerFile, ...]) -> tuple[Trigger, ...]:
    """What the file states, as the procedure has it."""
    return tuple(_trigger(each) for each in stated)


def _trigger(stated: TriggerFile) -> Trigger:
    names = (name for names in _KEYS.values() for name in names if name != "path")
    found = {name: getattr(stated, name) for name in dict.fromkeys(names)}
    return Trigger(
        type=stated.type.value,
        path=stated.path,
        **{name: UNSET if value is None else value for name, value in found.items()},
    )


def check_triggers(sheet: Sheet, findings: Findings) -> None:
    """Reports what is wrong with the triggers of one file, each by itself."""
    seen: dict[str, int] = {}
    for index, trigger in enumerate(sheet.said.triggers or ()):
        at = sheet.at("triggers", index)

        def place(field: str, index: int = index) -> Place:
            return sheet.at("triggers", index, _CAMEL.get(field, field))

        if not _check_keys(trigger, at, place, findings):
            continue
        _check_values(trigger, place, findings)
        name = name_of(_trigger(trigger))
        if trigger.type is not TriggerType.MANUAL and name in seen:
            findings.error(
                "duplicate_trigger",
                f"expected each trigger once, got another one called {shown(name)}",
                at=at,
                hint='give one of them a "key" of its own, or take it out',
            )
        seen.setdefault(name, index)


def _check_keys(trigger: TriggerFile, at: Place, place: Callable[[str], Place], findings: Findings) -> bool:
    passed = True
    needed = _NEEDS.get(trigger.type)
    if needed is not None and getattr(trigger, needed[0]) is None:
        field, what, example = needed
        findings.error(
            f"{trigger.type}_without_{field}",
            f'expected {what} such as "{example}", got none',
            at=at,
            hint=f'add "{field}"',
        )
        passed = False
    mine = _KEYS[trigger.type]
    for field in dict.fromkeys(name for names in _KEYS.values() for name in names):
        if getattr(trigger, field) is None or field in mine:
            continue
        owners = [kind.value for kind, keys in _KEYS.items() if field in keys]
        if trigger.type is TriggerType.MANUAL and field == "path":
            findings.error(
                "path_without_webhook",
                "expected no path for a manual trigger, got one",
                at=at,
                hint="take it out, or make it a webhook",
            )
        else:
            findings.error(
                "key_of_another_trigger",
                f'expected no "{_CAMEL.get(field, field)}" for a trigger of type {trigger.type.value}, got one',
                at=place(field),
                hint=f"take it out; it belongs to {', '.join(owners)}",
            )
        passed = False
    return passed


def _check_values(trigger: TriggerFile, place: Callable[[str], Place], findings: Findings) -> None:
    match trigger.type:
        case TriggerType.WEBHOOK:
            _check_webhook(trigger, place, findings)
        case TriggerType.CRON:
            _check_value("bad_schedule", trigger.expression, check_expression, place("expression"), findings)
            _check_value("bad_timezone", trigger.timezone, _check_zone, place("timezone"), findings)
        case TriggerType.FILESYSTEM:
            _check_value("bad_pattern", trigger.path, pattern_mistake, place("path"), findings)
            _check_repeats(trigger.events, place("events"), findings)
        case TriggerType.PROCEDURE:
            _check_repeats(trigger.status, place("status"), findings)
        case TriggerType.MANUAL:
            pass


def _check_zone(timezone: str) -> None:
    try:
        zone_of(timezone)
    except ValueError:
        raise ValueError("a time zone such as UTC or Europe/Paris") from None


def _check_value(code: str, value: Any, check: Callable[[str], None], at: Place, findings: Findings) -> None:
    if value is None:
        return
    try:
        check(value)
    except ValueError as error:
        findings.unexpected(code, expected=str(error), got=shown(value), at=at, hint=_HINTS[code])


_HINTS = {
    "bad_schedule": "minute hour day month weekday, such as 30 2 * * * for half past two each night",
    "bad_timezone": "use a name of the IANA time zone database",
    "bad_pattern": "such as incoming/*.csv, or incoming/**/*.csv for all folders below",
}


def _check_webhook(trigger: TriggerFile, place: Callable[[str], Place], findings: Findings) -> None:
    if trigger.path is not None and not _WEBHOOK_PATH.fullmatch(trigger.path):
        findings.unexpected(
            "bad_value",
            expected='a path such as "/deploy/production"',
            got=shown(trigger.path),
            at=place("path"),
            hint="it starts with a slash and has A-Z a-z 0-9 . _ ~ - and the like, no query and no empty part",
        )
    scheme = trigger.scheme or Scheme.STANDARD
    if trigger.secret_env is None and (trigger.scheme or trigger.signature_header or trigger.id_header) is not None:
        if trigger.scheme is not None or trigger.signature_header is not None:
            findings.error(
                "scheme_without_secret",
                "expected secretEnv for a webhook that names a scheme, got none",
                at=place("scheme" if trigger.scheme is not None else "signature_header"),
                hint="name the environment variable that holds the secret",
            )
        return
    for field, schemes in _SCHEMES_WITH_HEADERS.items():
        if getattr(trigger, field) is not None and scheme not in schemes:
            findings.error(
                "header_of_another_scheme",
                f"expected no {_CAMEL[field]} with the scheme {scheme.value}, got one",
                at=place(field),
                hint=f"take it out; it belongs to {' and '.join(each.value for each in schemes)}",
            )
    if scheme is Scheme.TIMESTAMPED and trigger.signature_header is None:
        findings.error(
            "timestamped_without_header",
            "expected signatureHeader with the scheme timestamped, got none",
            at=place("scheme"),
            hint='name the header, such as "Stripe-Signature"',
        )


def _check_repeats(words: tuple[str, ...] | None, at: Place, findings: Findings) -> None:
    if words is not None and len(set(words)) < len(words):
        findings.error("repeated_word", "expected each word once, got one again", at=at, hint="take it out")


def check_expressions(procedure: Procedure, pair: Pair, findings: Findings) -> None:
    """Reports what is wrong with triggers beside the rest of the procedure: expressions, and parameters."""
    for index, trigger in enumerate(procedure.triggers):
        if trigger.type == TriggerType.MANUAL:
            continue
        for mistake in mistakes_of(procedure, trigger):
            findings.unexpected(
                mistake.code,
                expected=mistake.expected,
                got=mistake.got,
                at=pair.at("triggers", index, *mistake.where),
                hint=mistake.hint,
            )
        if trigger.procedure == procedure.name:
            findings.error(
                "triggers_itself",
                "expected another procedure, got this one: each end of it would start it again",
                at=pair.at("triggers", index, "procedure"),
                hint="name another procedure, or use cron",
            )
        if missing := lacking(procedure, trigger):
            findings.warning(
                "never_started",
                f"the trigger {name_of(trigger)} starts nothing: it gives no {', '.join(missing)}, which is required",
                at=pair.at("triggers", index),
                hint='add it to the "params" of the trigger, or give it a default',
            )
