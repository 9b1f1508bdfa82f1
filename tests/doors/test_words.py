"""What people read: short next steps, nothing said twice, width, colours and marks that fit the stream."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest

from sopwith.doors.cli import terminal
from sopwith.doors.cli.display import ended_words
from sopwith.engine.library import Library

from .workshop import Workshop, end_process, eventually

GATED = ("Look | echo looked", "?Act | echo acted")
SCENARIO = 'expect.status = "awaiting_approval"'


def test_next_is_one_command_a_line(workshop: Workshop) -> None:
    workshop.steps("gated", *GATED)
    told = workshop.sop("run", "gated").out
    run = workshop.run_id("gated")
    assert told.endswith(f'next: sop approve {run}\n  or: sop reject {run} --reason "why"\n')


@pytest.mark.parametrize(
    ("verb", "wanted"),
    [
        (("reject", "--reason", "no"), "sop retry {run}\n  or: sop skip {run}"),
        (("pause",), "sop resume {run}\n  or: sop cancel {run}"),
        (("cancel",), "it has ended; sop audit {run} shows its record"),
    ],
)
def test_next_names_what_can_be_done(workshop: Workshop, verb: tuple[str, ...], wanted: str) -> None:
    workshop.steps("gated", *GATED)
    run = workshop.started("gated")
    name, *more = verb
    assert f"next: {wanted.format(run=run)}" in workshop.sop(name, run, *more).out


def test_a_run_that_has_ended_goes_on_nowhere(workshop: Workshop) -> None:
    workshop.steps("plain", "Look | echo looked")
    workshop.started("plain", code=0)
    document = workshop.json("status", workshop.run_id("plain")) | {"drivenBy": {"host": "here", "pid": 999}}
    assert "goes on" not in ended_words(document)
    assert "goes on" in ended_words(document | {"endedAt": None})


def test_validate_reports_an_unregistered_folder_once(workshop: Workshop) -> None:
    workshop.steps("found", *GATED)
    (workshop.sops / "index.json").write_text("{}")
    document = workshop.json("validate")
    assert [problem["code"] for problem in document["problems"]] == ["unregistered"]
    assert workshop.sop("list").out.count("registered") == 1
    workshop.json("doctor")
    assert workshop.json("validate")["problems"] == []


@pytest.mark.parametrize("verb", [("validate",), ("test",)])
def test_a_procedure_that_cannot_be_read_is_told_beside_the_others(workshop: Workshop, verb: tuple[str, ...]) -> None:
    for name in ("first", "shut", "third"):
        workshop.steps(name, *GATED)
        (workshop.sops / name / "scenarios").mkdir()
        (workshop.sops / name / "scenarios" / "no.toml").write_text(SCENARIO)
    files = [*(workshop.sops / "shut").glob("*.md"), *(workshop.sops / "shut").glob("manifest.json")]
    for file in files:
        file.unlink()
        file.mkdir()
    (workshop.sops / "index.json").write_text(
        json.dumps({name: f"{name}/{files[0].name}" for name in ("first", "shut", "third")})
    )
    told = workshop.sop(*verb)
    assert told.code == 1
    assert f"shut/{files[0].name}: it is not a regular file" in told.out
    assert re.search("3 procedures: 1 error|3 scenarios, 1 failed", told.out), told.out


@pytest.mark.parametrize("verb", ["list", "validate"])
def test_all_procedures_are_looked_at_in_one_pass(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """However many there are: to look each of them up among all would take their number squared."""
    for number in range(5):
        workshop.steps(f"p{number}", "Look | echo looked")
    passes, survey = list[int](), Library._survey
    monkeypatch.setattr(Library, "_survey", lambda library: passes.append(1) or survey(library))
    assert workshop.sop(verb).code == 0
    assert len(passes) == 1


def test_a_list_names_ten_that_are_not_registered_and_counts_the_rest(workshop: Workshop) -> None:
    for number in range(13):
        workshop.steps(f"p{number:02}", "Look | echo looked")
    (workshop.sops / "index.json").write_text("{}")
    told = workshop.sop("list").out
    assert "not registered: p00, p01, p02, p03, p04, p05, p06, p07, p08, p09 and 3 more; sop doctor" in told


def test_sop_alone_prints_help(workshop: Workshop) -> None:
    told = workshop.sop()
    assert (told.code, told.err) == (2, "")
    assert "Commands:" in told.out
    assert workshop.sop("--help").code == 0


def test_the_workspace_may_be_named_before_or_after_the_verb(workshop: Workshop, tmp_path: object) -> None:
    workshop.steps("gated", *GATED)
    for args in (["--workspace", str(workshop.root), "list"], ["list", "--workspace", str(workshop.root)]):
        told = workshop.process(*args, env={"SOPWITH_WORKSPACE": "/nowhere"})
        assert told.code == 0
        assert "gated" in told.out


def test_a_dry_run_shows_all_in_order_and_touches_nothing(workshop: Workshop) -> None:
    workshop.procedure(
        "plan",
        "# Plan\n\n**Execution Mode**: supervised\n\n## Steps\n\n"
        "### Step 1: Last\n\n```bash\ntouch ran\n```\n\n**Depends On**: 2\n\n"
        "### Step 2: First\n\n```bash\ntouch ran\n```\n\n"
        "**Approval Required**: Yes\n**Approval Timeout**: 5 minutes\n**Depends On**: none\n",
    )
    before = workshop.files()
    told = workshop.sop("run", "plan", "--dry-run", "--param", "where=here")
    assert told.code == 0
    order = [told.out.index(words) for words in ("approval before the start", "approval of step 2", "First", "Last")]
    assert order == sorted(order)
    assert "where = here" in told.out
    assert "approve after 5 min" in told.out
    document = workshop.json("run", "plan", "--dry-run")
    assert [step["number"] for step in document["steps"]] == [2, 1]
    assert document["steps"][0]["gate"] == {"approvalTimeoutMins": 5, "onTimeout": "approve"}
    assert workshop.files() == before


def test_verbs_that_look_make_no_database(workshop: Workshop) -> None:
    workshop.steps("gated", *GATED)
    before = workshop.files()
    assert workshop.sop("history").out == "no runs yet: sop run NAME starts one\n"
    assert workshop.sop("history", "gated").out == "no runs of gated yet\n"
    assert workshop.sop("inbox").out == "nothing waits for a person\n"
    assert workshop.sop("status", "sop_run_x").code == 6
    workshop.sop("list")
    assert workshop.files() == before


def test_a_procedure_that_is_gone_keeps_its_history(workshop: Workshop) -> None:
    folder = workshop.steps("fine", "Do | echo done")
    run = workshop.started("fine", code=0)
    (folder / "SOP.md").unlink()
    folder.rmdir()
    (workshop.sops / "index.json").write_text("{}")
    assert run in workshop.sop("history", "fine").out
    assert workshop.sop("status", run).code == 0


def test_a_stream_without_the_characters_gets_ascii_marks_and_escapes(workshop: Workshop) -> None:
    workshop.procedure(
        "wide", "# 日本語\n\n**Execution Mode**: auto\n\n## Steps\n\n### Step 1: Ü ✔\n\n```bash\necho ü\n```\n"
    )
    for locale in ({"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}):
        for verb in (["run", "wide"], ["list"], ["show", "wide"], ["history"], ["run", "wide", "--dry-run"]):
            told = workshop.process(*verb, env=locale)
            assert told.code == 0, told
            assert "UnicodeEncodeError" not in told.err
        assert "+ step 1/1 completed" in workshop.process("run", "wide", env=locale).out
    assert "\\u65e5" in workshop.process("list", env={"PYTHONIOENCODING": "ascii"}).out


def test_pipes_no_color_and_dumb_terminals_get_no_codes(
    workshop: Workshop, terminal_colours: list[tuple[dict[str, str], bool]]
) -> None:
    for environment, wanted in terminal_colours:
        from .workshop import Terminal

        screen = Terminal(workshop, "list", env=environment)
        screen.end()
        assert ("\x1b[" in screen.raw) is wanted, (environment, screen.raw)
        screen.close()


@pytest.fixture
def terminal_colours(workshop: Workshop) -> list[tuple[dict[str, str], bool]]:
    workshop.steps("gated", *GATED)
    return [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)]


@pytest.mark.parametrize("columns", [16, 30, 80, 200])
def test_no_line_of_the_live_list_is_wider_than_the_terminal(workshop: Workshop, columns: int) -> None:
    from .workshop import Terminal

    title = "A long title with wide characters 日本語テキスト that goes on and on " * 3
    workshop.steps("wide", f"{title} | echo {'x' * 300}; sleep 0.3", "Other | true")
    screen = Terminal(workshop, "run", "wide", columns=columns, rows=10)
    assert screen.end() == 0
    lines = [line for line in screen.lines if "1 A" in line]
    assert lines
    assert all(terminal.width(line) <= columns for line in lines)
    assert all(re.search(r" \d[0-9.]*s$", line.rstrip()) for line in lines)  # the title gives way, not the duration
    screen.close()


def test_hostile_output_cannot_steer_a_terminal(workshop: Workshop) -> None:
    from .workshop import Terminal

    evil = r"printf '\033[2J\033[Hgone\033]0;title\007\033[8mhidden \342\200\256bidi\r50%%\r100%%\n'"
    workshop.steps("evil", f"Shout | {evil}; head -c 1000000 /dev/zero | tr '\\0' y; exit 1")
    for verb in (["run", "evil"], ["logs", "RUN"], ["status", "RUN"], ["status", "RUN", "--step", "1"]):
        args = [workshop.run_id("evil") if word == "RUN" else word for word in verb]
        screen = Terminal(workshop, *args)
        if verb[0] == "run":
            screen.expect("eave > ")
            screen.type("l\n")
        screen.end()
        assert not {"\x1b[2J", "\x1b]0;title", "\x1b[8m", "\u202e"} & {
            bad for bad in ("\x1b[2J", "\x1b]0;title", "\x1b[8m", "\u202e") if bad in screen.raw
        }
        screen.close()


def test_tame_keeps_words_and_the_last_state_of_a_line() -> None:
    assert terminal.tame("10%\r50%\r100%\nnext\r\n") == "100%\nnext\n"
    assert terminal.tame("\x1b[31mred\x1b[0m\x1b]0;x\x07 \x1b[2Jok") == "red ok"
    assert terminal.tame("a\tb") == "a    b"
    assert terminal.tame("\u202ex\x07") == "\\u{202e}x\\u{0007}"
    assert terminal.tame("日本語 … ½ é") == "日本語 … ½ é"


@pytest.mark.parametrize("piece", ["\x1b[", "\x1b]", "\r", "x", "\x1b", "\u202e", "x\r"])
def test_tame_is_linear(piece: str) -> None:
    terminal.tame(piece * 300_000)  # the timeout of the suite is the assertion


def test_crop_counts_columns_not_characters() -> None:
    assert terminal.crop("日本語テキスト", 9) == "日本語テ…"
    assert terminal.crop("short", 9) == "short"
    assert terminal.crop("anything", 0) == ""
    assert terminal.width("e\u0301") == 1


def test_echo_never_fails_for_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.prepare_streams()
    terminal.echo("✔ \udcff 日")
    terminal.echo_json({"text": "\udcff日"})
    stream.flush()
    written = stream.buffer.getvalue()  # type: ignore[attr-defined]
    assert written == b'\\u2714 \\udcff \\u65e5\n{"text":"\\\\udcff\xe6\x97\xa5"}\n'


@pytest.mark.parametrize("verb", ["schema", "completion"])
def test_a_missing_argument_is_told_on_one_line(workshop: Workshop, verb: str) -> None:
    told = workshop.sop(verb)
    assert told.code == 2
    assert "u{" not in told.err
    assert "hoose from: " in told.err


def test_a_status_that_no_run_has_is_named(workshop: Workshop) -> None:
    workshop.steps("fine", "Do | true")
    workshop.started("fine", code=0)
    assert workshop.sop("history", "--status", "paused").out == "no run is paused\n"


def test_while_a_pause_is_requested_none_is_offered(workshop: Workshop) -> None:
    workshop.steps("slow", "Wait | touch begun; until [ -e go ]; do sleep 0.02; done")
    process = workshop.background("run", "slow")
    try:
        eventually((workshop.root / "begun").exists)
        next_ = workshop.json("pause", workshop.run_id("slow"))["next"]
        (workshop.root / "go").touch()
        process.wait(30)
    finally:
        end_process(process)
    assert "sop cancel" in next_
    assert "sop pause" not in next_
