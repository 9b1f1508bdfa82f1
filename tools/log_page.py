"""docs/reference/server-log.md, from what the server can write."""

from __future__ import annotations

from sopwith.doors.cli.server_log import DETAILS, OWN_TYPES, level_of
from tools.event_page import event_name, event_types
from tools.markdown import code, page, table

_KEYS = (
    ("timestamp", "UTC, ISO 8601, with milliseconds and `Z`"),
    ("level", "`info`; `warning`, worth a look; `error`, the server's own trouble"),
    ("type", "what it is about: one of the tables below"),
    ("runId, sopName", "the run and its procedure, where it is about one"),
    ("stepNumber, instance", "the step, where it is about one"),
    ("seq, actor", "of an event: its number within the run, and who"),
    ("details", "of an event: what the list below names, as in the record"),
)


def log_page() -> str:
    return page(
        "What a server logs",
        "`sop serve --log-format json` writes one JSON document a line to standard output. See "
        "[Keep a server](../how-to/serve.md).",
        table(["Key", "Meaning"], [(", ".join(map(code, keys.split(", "))), meaning) for keys, meaning in _KEYS]),
        "Details that may be shown: " + ", ".join(map(code, sorted(DETAILS))) + ". All others, such as parameters, "
        "outputs, forms and what a step printed, stand in the record only.",
        "## The server's own",
        table(["Type", "Level", "Meaning"], [(code(kind), *words) for kind, words in OWN_TYPES.items()]),
        "## Events",
        table(["Type", "Level"], [(_link(event_name(body)), level_of(event_name(body))) for body in event_types()]),
    )


def _link(name: str) -> str:
    return f"[{code(name)}](events.md#{name})"
