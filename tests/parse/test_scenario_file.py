"""Scenario files: every mistake is told with the file, the key, one sentence and a hint."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rehearsal.given import problems, procedure, scenario

from sopwith.core.actor import ActorKind
from sopwith.parse.parsed import SourceFile
from sopwith.parse.scenario import Act, Pass
from sopwith.parse.scenario_file import SOMEBODY, read_scenario

OF = procedure(
    {"key": "build", "outputs": {"url": "string", "count": "integer", "ready": "boolean"}},
    {"rollback": {"run": "undo"}},
    {"run": None},
)
EXPECT = '\n[expect]\nstatus = "completed"\n'
WHO = 'by = "alice"\n'


def act(text: str) -> str:
    return f"[[acts]]\n{text}\n"


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ('descripton = "x"', "descripton", 'expected a known key, got "descripton"', 'did you mean "description"?'),
        ("zzz = 1", "zzz", 'expected a known key, got "zzz"', "look its name up in the page about scenarios"),
        ("description = 3", "description", "expected text, got 3", "write text"),
        ('mode = "atuo"', "mode", "expected one of auto, supervised", 'did you mean "auto"?'),
        ("starts_at = 2026-12-01T08:00:00", "starts_at", "expected a time with its zone", "write a time with its zone"),
        ('starts_at = "0001-01-01T00:00:00+12:00"', "starts_at", "expected a time with its zone", "write a time"),
        ('started_by = "group:a"', "started_by", "expected the name of a person, or agent:NAME", "write the name"),
        ("[params]\nlist = [1]", "params.list", "expected text or a whole number", "write text"),
        ('[config]\nuser = {a = {name = "A"}}', "config.user", "expected a known key", 'did you mean "users"?'),
        (
            '[config.groups]\na = ["agent:b"]',
            "config.groups.a no. 1",
            "expected the name of a user",
            "agents are in no",
        ),
        ("[steps.4]", "steps.4", 'expected a step of deploy, got "4"', "its steps are 1 to 3, by key build"),
        ("[steps.biuld]", "steps.biuld", 'expected a step of deploy, got "biuld"', 'did you mean "build"?'),
        ("[steps.1]\n[steps.build]", "steps.build", "step 1 is told twice", "by number or by key: keep one"),
        ("[steps.3]\ntakes = 1", "steps.3", "step 3 runs nothing: a person reports how it went", "take it out"),
        ("[steps.1]\nexitcode = 1", "steps.1.exitcode", "expected a known key", 'did you mean "exit_code"?'),
        ("[steps.1]\nexit_code = 256", "steps.1.exit_code", "expected a number up to 255, got 256", "write"),
        ("[steps.1]\nexit_codes = []", "steps.1.exit_codes", "expected one exit code at least", "write"),
        ("[steps.1]\nexit_code = 1\nexit_codes = [1]", "steps.1", "exit_code and exit_codes say the same", "keep one"),
        ("[steps.1]\nexit_codes = [0, true]", "steps.1.exit_codes no. 2", "expected a whole number, got true", "write"),
        ('[steps.1]\ntakes = "soon"', "steps.1.takes", 'expected a time such as "30s" or "5m"', "write a time"),
        ("[steps.1]\ntakes = -1", "steps.1.takes", 'expected a time such as "30s" or "5m"', "write a time"),
        ('[steps.1]\ntakes = "99999d"', "steps.1.takes", "ten years at most", "write a time"),
        (
            "[steps.1.outputs]\nurl = 3",
            "steps.1.outputs.url",
            "expected a string, as the step declares, got 3",
            "write",
        ),
        ("[steps.1.outputs]\ncount = true", "steps.1.outputs.count", "expected an integer, as the step", "write"),
        ("[steps.1.outputs]\nready = 1", "steps.1.outputs.ready", "expected a boolean, as the step", "write"),
        ("[steps.1.outputs]\nx = nan", "steps.1.outputs.x", "expected a number that JSON knows, got nan", "write"),
        ("[steps.1.outputs]\nurl = 9007199254740992", "steps.1.outputs.url", "expected a number below 2**53", "write"),
        ('[steps.1.outputs]\nx = ["\\u0000"]', "steps.1.outputs.x no. 1", "expected text without NUL", "write"),
        ("[steps.1.rollback]", "steps.1.rollback", "step 1 has no rollback script", "take it out"),
        ("[steps.2.rollback]\noutputs = {a = 1}", "steps.2.rollback.outputs", "expected a known key", "did you mean"),
        (act(WHO), "acts no. 1", 'expected the key "do"', 'do = "approve"'),
        (act('do = "approve"'), "acts no. 1", 'expected the key "by"', "add by"),
        (act('do = "aprove"\n' + WHO), "acts no. 1: do", "expected one of approve, reject", 'did you mean "approve"?'),
        (act('do = "approve"\nreason = "x"\n' + WHO), "acts no. 1: reason", "approve takes no reason", "approve takes"),
        (act('do = "pause"\nstep = 1\n' + WHO), "acts no. 1: step", "pause takes no step", "pause takes after, by, r"),
        (act('do = "reject"\n' + WHO), "acts no. 1", "reject needs a reason", 'add reason = "why"'),
        (act('do = "fail"\nreason = " "\n' + WHO), "acts no. 1", "fail needs a reason", "add reason"),
        (act('do = "skip"\n' + WHO), "acts no. 1", "skip needs a reason", "add reason"),
        (act('do = "approve"\nstep = 9\n' + WHO), "acts no. 1: step", "expected a step of deploy, got 9", "its steps"),
        (act('do = "skip"\nreason = "x"\nstep = "start"\n' + WHO), "acts no. 1: step", "expected a step", "its steps"),
        (
            act('do = "approve"\nrefused = "stale"\n' + WHO),
            "acts no. 1: refused",
            "expected the code of a ref",
            "one of",
        ),
        (act('wait = "1m"\n' + WHO), "acts no. 1: by", "while a wait lasts nobody acts", "make it an act of its own"),
        (act('wait = "1 fortnight"'), "acts no. 1: wait", 'expected a time such as "30s"', "write a time"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, place: str, message: str, hint: str) -> None:
    (found,) = problems(text + EXPECT, OF)
    assert (found.file, found.path) == ("s.toml", place)
    assert message in found.message
    assert hint in found.hint


@pytest.mark.parametrize(
    ("expect", "place", "message", "hint"),
    [
        ("", "expect", "nothing is expected, so nothing is tested", 'say status = "completed"'),
        ("events = []\nsteps = {}", "expect", "nothing is expected, so nothing is tested", "say status"),
        ('status = "done"', "expect.status", "expected one of pending", "write one of"),
        ('steps = {9 = "completed"}', "expect.steps.9", "expected a step of deploy", "its steps are"),
        ('steps = {1 = "complete"}', "expect.steps.1", "expected one of pending", 'did you mean "completed"?'),
        ('steps = {1 = "failed", build = "failed"}', "expect.steps.build", "step 1 is told twice", "keep one"),
        (
            'events = ["step_start"]',
            "expect.events no. 1",
            "expected the type of an event",
            'did you mean "step_starte',
        ),
        ('events = ["step_started 9"]', "expect.events no. 1", "expected a step of deploy", "its steps"),
        ('events = ["step_started start"]', "expect.events no. 1", "expected a step of deploy", "its steps"),
        ('never = ["run_failed 1"]', "expect.never no. 1", "run_failed is about no step", 'write "run_failed"'),
        ('refused = "x"', "expect.refused", "expected the code of a refusal", "one of"),
        (
            'refused = "not_allowed"\nstatus = "failed"',
            "expect",
            "a start that is refused makes no run",
            "take the rest",
        ),
    ],
)
def test_a_mistake_in_what_is_expected_is_told(expect: str, place: str, message: str, hint: str) -> None:
    (found,) = problems(f"[expect]\n{expect}\n", OF)
    assert found.path == place
    assert message in found.message
    assert hint in found.hint


def test_a_scenario_must_expect_something() -> None:
    (found,) = problems("", OF)
    assert found.message == 'expected the key "expect"'


def test_what_is_no_toml_is_told_with_line_and_column() -> None:
    (found,) = problems("a = 1\nb = = 2\n", OF)
    assert (found.line, found.column, found.code) == (2, 5, "bad_toml")
    assert str(found).startswith("s.toml:2:5: invalid value")
    (found,) = problems('a = """', OF)
    assert found.message.endswith("at the end of the file") or found.line


@pytest.mark.parametrize("data", [b"\xff", b"\0", b"x" * 1024 * 1025, b"a = " + b"[" * 5000, b"a." * 50 + b"b = 1"])
def test_any_bytes_are_told_as_a_problem(data: bytes) -> None:
    read, found = read_scenario(SourceFile("s.toml", data), OF)
    assert read is None
    assert found
    assert all(problem.hint for problem in found)


def test_deep_nesting_is_told() -> None:
    (found,) = problems("[steps.1.outputs]\nx = " + "[" * 40 + "]" * 40 + EXPECT, OF)
    assert found.message == "expected at most 32 levels of nesting"


def test_all_mistakes_are_told_at_once() -> None:
    found = problems("[steps.9]\n[steps.1]\ntakes = 'x'\n" + act('do = "reject"\n' + WHO) + EXPECT, OF)
    assert [problem.path for problem in found] == ["steps.9", "steps.1.takes", "acts no. 1"]


def test_everything_that_can_be_said_is_read() -> None:
    read = scenario(
        """
        description = "all of it"
        mode = "supervised"
        started_by = "agent:bot"
        starts_at = 2026-12-01T08:00:00+01:00
        params = {to = "production", count = 2}
        [steps.build]
        exit_codes = [1, 0]
        outputs = {url = "x", other = {a = [1]}}
        output = "said"
        takes = "1h 30m"
        interrupted = true
        [steps.2]
        exit_code = 3
        rollback = {takes = 5}
        [[acts]]
        do = "approve"
        by = "user:alice"
        step = "start"
        comment = "yes"
        form = {ticket = "T-1"}
        after = 5
        refused = "not_allowed"
        [[acts]]
        wait = "10m"
        [expect]
        status = "failed"
        """,
        OF,
    )
    assert (read.name, read.starter.id, read.starter.kind) == ("s", "bot", ActorKind.AGENT)
    assert read.starts_at is not None
    assert read.starts_at.isoformat() == "2026-12-01T07:00:00+00:00"
    assert (read.stubs[1].exit_codes, read.stubs[1].takes_secs, read.stubs[2].exit_codes) == ((1, 0), 5400, (3,))
    assert read.rollbacks[2].takes_secs == 5
    approve, pause = read.acts
    assert isinstance(approve, Act)
    assert (approve.at_start, approve.step, approve.after_secs, approve.actor.id) == (True, None, 5, "alice")
    assert pause == Pass(secs=600)


def test_a_scenario_that_names_nobody_is_started_by_somebody() -> None:
    read = scenario(EXPECT, OF)
    assert (read.starter.id, read.starter.kind, read.config) == (SOMEBODY, ActorKind.HUMAN, None)


def test_a_time_of_toml_is_text_where_it_is_a_value() -> None:
    assert scenario("[params]\nday = 2026-12-01\n" + EXPECT, OF).params == {"day": "2026-12-01"}


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="[]=.\"'#{},:\n actsdobyep123", max_size=80))
def test_no_text_makes_the_reader_raise(text: str) -> None:
    read, found = read_scenario(SourceFile("s.toml", text.encode()), OF)
    assert (read is None) == bool(found)
