"""The time limit of a whole run in both files, beside the one of a step."""

from __future__ import annotations

from sopwith.core.procedure import OnFailure, Procedure
from sopwith.errors import Severity

from .examples import codes, only, parse

STEP = {"number": 1, "title": "Do it", "run": "ls"}
SHEET = "**Timeout**: 30 minutes\n**On Failure**: rollback\n\n## Steps\n\n### Step 1: Do it\n\n```bash\nls\n```\n"


def read(sop_md: str | None, manifest: dict[str, object] | None = None) -> Procedure:
    procedure = parse(sop_md, manifest).procedure
    assert procedure is not None
    return procedure


def test_either_file_may_limit_the_run() -> None:
    assert read(SHEET).timeout_secs == 1800
    assert read(None, {"timeoutSecs": 1.5, "steps": [STEP]}).timeout_secs == 1.5
    assert read(None, {"steps": [STEP]}).timeout_secs is None


def test_the_limit_of_a_step_is_not_the_runs() -> None:
    procedure = read(SHEET + "\n**Timeout**: 10 s\n")
    assert (procedure.timeout_secs, procedure.steps[0].timeout_secs) == (1800, 10)


def test_where_the_files_differ_the_manifest_wins() -> None:
    parsed = parse(SHEET, {"timeoutSecs": 60})
    assert parsed.procedure is not None
    assert parsed.procedure.timeout_secs == 60
    assert "drift" in codes(parsed, Severity.WARNING)


def test_the_procedures_own_answer_to_a_failure_is_kept_for_it() -> None:
    assert read(SHEET).on_failure is OnFailure.ROLLBACK
    assert read(None, {"steps": [STEP]}).on_failure is OnFailure.STOP


def test_a_limit_that_cannot_be_read_is_an_error() -> None:
    problem = only(parse(SHEET.replace("30 minutes", "soon")))
    assert (problem.code, problem.line) == ("bad_value", 1)


def test_a_wait_that_no_run_could_outlast_is_told() -> None:
    wait = {"number": 1, "title": "Wait", "waitSecs": 60}
    assert only(parse(None, {"timeoutSecs": 60, "steps": [wait]}), Severity.WARNING).code == "wait_beyond_limit"
    assert codes(parse(None, {"timeoutSecs": 61, "steps": [wait]}), Severity.WARNING) == []
