"""docs/reference/errors.md, from errors.py."""

from __future__ import annotations

from sopwith import errors
from tools.markdown import code, page, prose, table

_OF_THE_COMMAND = (
    ("usage", "2", "The command line cannot be understood; `sop COMMAND --help` shows how."),
    ("internal", "1", "A mistake in Sopwith itself. `SOPWITH_DEBUG=1` shows where; please report it."),
)


def error_types() -> list[type[errors.SopwithError]]:
    """All errors in the order of the code."""
    found = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return [kind for kind in found if issubclass(kind, errors.SopwithError)]


def errors_page() -> str:
    rows = [(code(kind.code), str(kind.exit_code), str(kind.http_status), prose(kind)) for kind in error_types()]
    return page(
        "Errors",
        "Each error has a code that stays the same, one sentence, and a hint. With `--json` it is printed as "
        '`{"success": false, "error": {"code", "message", "hint", …}}`. A refusal changes nothing.',
        table(["Code", "Exit", "HTTP", "Meaning"], rows),
        "The HTTP status is what [the HTTP API](http-api.md) answers, which has a few codes of its own.",
        "## Of the command alone",
        table(
            ["Code", "Exit", "Meaning"], [(code(name), exit_code, text) for name, exit_code, text in _OF_THE_COMMAND]
        ),
    )
