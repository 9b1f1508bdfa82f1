"""Whatever is typed or found on disk: one sentence, one hint, the right exit code, never a traceback."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from sopwith.engine.outputs import output_of

from .workshop import SOP, Told, Workshop

HOSTILE = ("../../etc/passwd", "/etc/passwd", "a/b", "A", "-x", "x" * 65, "é", "a\nb", "\x1b[31mred", "\u202eevil", ".")


def is_told_well(told: Told, code: int) -> None:
    assert told.code == code, told
    assert "Traceback" not in told.err
    assert told.out == ""
    assert told.err.count("error: ") == 1
    assert told.err.count("hint: ") >= 1
    assert "\x1b" not in told.err
    assert "\u202e" not in told.err


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("verb", ["create", "show", "run", "validate", "history", "test"])
def test_a_name_that_no_procedure_may_have_is_refused(workshop: Workshop, verb: str, name: str) -> None:
    before = workshop.files()
    is_told_well(workshop.sop(verb, "--", name), 2)
    assert workshop.files() == before


@pytest.mark.parametrize("run", [*HOSTILE, "sop_run_../../x", "sop_run_", "sop_run_A"])
@pytest.mark.parametrize("verb", ["status", "logs", "audit", "approve", "cancel"])
def test_what_is_no_run_id_is_refused(workshop: Workshop, verb: str, run: str) -> None:
    is_told_well(workshop.sop(verb, "--", run), 2)


@pytest.mark.parametrize(
    "args",
    [
        ("frobnicate",),
        ("status", "--nope"),
        ("status", "a", "b"),
        ("run",),
        ("run", "fine", "--mode", "yolo"),
        ("history", "--limit", "many"),
        ("history", "--status", "sleeping"),
        ("status", "sop_run_x", "--step", "one"),
        ("run", "fine", "--param", "novalue"),
        ("run", "fine", "--param", "1bad=x"),
        ("run", "fine", "--param", "=x"),
        ("completion", "cmd.exe"),
    ],
)
def test_a_command_line_that_cannot_be_understood_exits_2(workshop: Workshop, args: tuple[str, ...]) -> None:
    workshop.steps("fine", "Do | echo done")
    is_told_well(workshop.sop(*args), 2)


@pytest.mark.parametrize("verb", ["worker", "import"])
def test_a_designed_verb_says_that_it_is_not_built_yet(workshop: Workshop, verb: str) -> None:
    told = workshop.sop(verb, "--port", "80")
    is_told_well(told, 2)
    assert f"sop {verb} is designed but not built yet" in told.err


def test_a_misspelt_verb_names_the_nearest(workshop: Workshop) -> None:
    assert "did you mean approve?" in workshop.sop("aprove").err


def test_every_mistake_in_the_parameters_is_told_at_once(workshop: Workshop) -> None:
    told = workshop.sop("run", "any", "--param", "one", "--param", "two", "--param", "a=1", "--param", "a=2")
    is_told_well(told, 2)
    assert all(words in told.err for words in ("--param one", "--param two", "--param a is given twice"))


def test_every_wrong_parameter_is_told_at_once(workshop: Workshop) -> None:
    params = [{"name": "count", "type": "integer"}, {"name": "where", "required": True}]
    workshop.steps("typed", "Do | echo done", params=params)
    told = workshop.sop("run", "typed", "--param", "count=many", "--param", "wher=x")
    is_told_well(told, 2)
    assert all(word in told.err for word in ("count", "wher", "where is required"))


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{", b'{"a": NaN}', b'{"a": "\xff"}', b"[" * 100_000, b'{"a": "\\u0000"}']
)
def test_a_params_file_that_is_no_object_of_parameters_exits_2(workshop: Workshop, content: bytes) -> None:
    workshop.steps("fine", "Do | echo done")
    (workshop.root / "params.json").write_bytes(content)
    is_told_well(workshop.sop("run", "fine", "--params-file", "params.json"), 2)


def test_a_params_file_that_is_missing_or_a_pipe_never_blocks(workshop: Workshop) -> None:
    workshop.steps("fine", "Do | echo done")
    os.mkfifo(workshop.root / "pipe")
    assert workshop.sop("run", "fine", "--params-file", "none.json").code == 2
    assert workshop.sop("run", "fine", "--params-file", "pipe").code == 1


@pytest.mark.parametrize("args", [(b"status", b"\xff"), (b"run", b"x", b"--param", b"a=\xff"), (b"\xff\xfe",)])
@pytest.mark.parametrize("json", [False, True])
def test_arguments_that_are_no_text_exit_2(workshop: Workshop, args: tuple[bytes, ...], json: bool) -> None:
    told = workshop.process(*args, *([b"--json"] if json else []))
    assert told.code == 2
    if json:
        assert told.json["error"]["code"] == "usage"
    else:
        is_told_well(told, 2)


def test_without_a_workspace_every_verb_says_how_to_make_one(workshop: Workshop, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for verb in (["list"], ["status", "sop_run_x"], ["run", "x"], ["doctor"], ["inbox"]):
        told = workshop.sop(*verb, "--workspace", str(empty))
        is_told_well(told, 6)
        assert "sop init" in told.err
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"garbage", b"[]", b'{"a": 1}', b'{"x": "../../../etc/SOP.md"}', b"\xff", b'{"a":"a","a":"b"}']
)
def test_an_index_that_is_garbage_is_an_error_with_its_place(workshop: Workshop, content: bytes) -> None:
    (workshop.sops / "index.json").write_bytes(content)
    for verb in ("list", "validate"):
        told = workshop.sop(verb)
        assert told.code in (0, 1, 2), told
        assert "Traceback" not in told.out + told.err
        assert "index.json" in told.out + told.err
    assert (workshop.sops / "index.json").read_bytes() == content


def test_doctor_keeps_an_index_aside_that_it_cannot_read(workshop: Workshop) -> None:
    workshop.steps("fine", "Do | true")
    torn = '{"fine": "fine/SOP.md",'
    (workshop.sops / "index.json").write_text(torn)
    told = workshop.sop("doctor")
    assert told.code == 0
    assert "mended index.json could not be read" in told.out
    assert [file.read_text() for file in workshop.sops.glob("index.json.broken-*")] == [torn]
    assert workshop.json("list")["sops"][0]["registered"]


@pytest.mark.parametrize("content", [b"garbage", b'{"maxConcurrentRuns": -1}', b'{"nonsense": 1}', b"\x00"])
def test_a_config_that_is_garbage_starts_nothing(workshop: Workshop, content: bytes) -> None:
    workshop.steps("fine", "Do | touch ran")
    (workshop.sops / "config.json").write_bytes(content)
    told = workshop.sop("run", "fine")
    assert told.code == 1
    assert "config.json" in told.err
    assert workshop.sop("validate").code == 1
    assert not (workshop.root / "ran").exists()


def test_a_sheet_of_two_mebibytes_is_a_size_error(workshop: Workshop) -> None:
    workshop.procedure("huge", "# Huge\n\n## Steps\n\n### Step 1: X\n\n" + "long prose\n" * 200_000)
    told = workshop.sop("run", "huge")
    assert told.code == 1
    assert "1048576 bytes at most" in told.err


@pytest.mark.parametrize("step", ["0", "3", "-1", "99999999999999999999"])
@pytest.mark.parametrize("verb", ["status", "logs", "approve", "skip", "complete", "fail"])
def test_a_step_that_the_run_does_not_have_is_refused(workshop: Workshop, verb: str, step: str) -> None:
    workshop.steps("gated", "Look | echo looked", "?Act | echo acted")
    run = workshop.started("gated")
    more = {"skip": ["--reason", "x"], "fail": ["--reason", "x"]}.get(verb, [])
    told = workshop.sop(verb, run, f"--step={step}", *more)
    is_told_well(told, told.code)
    assert told.code in (2, 5, 6)
    assert workshop.json("status", run)["status"] == "awaiting_approval"


@pytest.mark.parametrize("args", [("reject",), ("reject", "--reason", " "), ("skip",), ("skip", "--reason", "\t")])
def test_a_reject_or_skip_without_a_reason_is_refused(workshop: Workshop, args: tuple[str, ...]) -> None:
    workshop.steps("gated", "Look | echo looked", "?Act | echo acted")
    run = workshop.started("gated")
    verb, *more = args
    is_told_well(workshop.sop(verb, run, *more), 2)
    assert workshop.json("status", run)["status"] == "awaiting_approval"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_workspace_that_cannot_be_written_is_an_error_with_its_place(workshop: Workshop) -> None:
    workshop.steps("fine", "Do | true")
    workshop.sops.chmod(0o500)
    try:
        for verb in (["run", "fine"], ["create", "other"]):
            told = workshop.sop(*verb)
            is_told_well(told, 1)
            assert str(workshop.sops) in told.err
        assert workshop.sop("list").code == 0
    finally:
        workshop.sops.chmod(0o700)


def test_a_database_that_is_no_database_is_an_error_and_stays_as_it_is(workshop: Workshop) -> None:
    (workshop.sops / "runs.db").write_bytes(b"this is no database" * 100)
    workshop.steps("fine", "Do | touch ran")
    for verb in (["run", "fine"], ["history"], ["status", "sop_run_x"]):
        is_told_well(workshop.sop(*verb), 1)
    assert not (workshop.root / "ran").exists()


@pytest.mark.parametrize("title", ["\x1b[2Jboo", "a\u202eb", "x" * 5000, "日本語" * 100])
def test_a_hostile_title_cannot_steer_the_screen(workshop: Workshop, title: str) -> None:
    workshop.procedure(
        "odd", f"# Odd\n\n**Execution Mode**: auto\n\n## Steps\n\n### Step 1: {title}\n\n```bash\ntrue\n```\n"
    )
    for verb in (["show", "odd"], ["list"], ["validate"], ["run", "odd", "--dry-run"], ["run", "odd"], ["history"]):
        told = workshop.sop(*verb)
        assert not {"\x1b", "\u202e"} & set(told.out + told.err)


def test_any_unexpected_fault_is_a_sentence(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("sopwith.doors.opened.find_workspace", broken)
    told = workshop.sop("list")
    is_told_well(told, 1)
    assert "RuntimeError: boom" in told.err
    monkeypatch.setenv("SOPWITH_DEBUG", "1")
    with pytest.raises(RuntimeError):
        workshop.sop("list")


def test_too_many_open_files_are_told_with_what_helps(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files", "some_module.py")

    monkeypatch.setattr("sopwith.doors.opened.find_workspace", refused)
    told = workshop.sop("list")
    is_told_well(told, 1)
    assert "ulimit -n" in told.err
    assert "some_module" not in told.err


def test_a_limit_that_no_database_can_count_is_a_usage_error(workshop: Workshop) -> None:
    assert workshop.sop("history", "--limit", str(2**70)).code == 2
    assert workshop.sop("history", "--limit", "1000000").code == 0


@pytest.mark.parametrize("args", [("list",), ("init",), ("status", "sop_run_x")])
def test_a_deleted_current_directory_is_told_in_one_sentence(workshop: Workshop, args: tuple[str, ...]) -> None:
    gone = workshop.root / "gone"
    script = f"mkdir gone; cd gone; rmdir {shlex.quote(str(gone))}; {shlex.join((*SOP, *args))}"
    done = subprocess.run(["bash", "-c", script], cwd=workshop.root, capture_output=True, text=True)
    assert done.returncode == 6, done
    assert "error: the current directory does not exist any more\n" in done.stderr


def test_the_log_of_the_newest_launch_is_read(tmp_path: Path) -> None:
    for number in (2, 9, 10):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "spool").touch()
    assert output_of(tmp_path) == tmp_path / "10" / "spool"
