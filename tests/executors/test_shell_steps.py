"""What a step's process is given, how its end is told, and what is kept of its output."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import tracemalloc
from pathlib import Path

import msgspec
import pytest

from sopwith.core.commands import StepResult
from sopwith.executors import spool
from sopwith.ports import WorkOrder
from sopwith.testing.contract_executor import ok, run

from .bench import end_all, executor, order, until

HOSTILE = {
    "SUBSTITUTION": "$(touch pwned) `touch pwned` ${IFS}",
    "QUOTES": """'; touch pwned; '" " \\""",
    "LINES": "one\ntwo\r\n\n",
    "DASH": "-rf /",
    "GLOB": "* ? [a-z] ~ !!",
    "BYTES": "\udcff\udcfe é 中 \u202e",
    "EMPTY": "",
}


def whole(work: WorkOrder) -> tuple[StepResult, bytes]:
    """Runs the step to its end: the result, and what was shown live."""

    async def story() -> tuple[StepResult, bytes]:
        shown = bytearray()
        watch = await executor().start(work, shown.extend)
        return ok(await watch.wait()), bytes(shown)

    return run(story())


def result_of(work: WorkOrder) -> StepResult:
    return whole(work)[0]


def said(folder: Path, text: str, interpreter: str = "bash", **changes: object) -> str:
    result = result_of(order(folder, text, interpreter, **changes))
    assert result.error == ""
    return result.output


def test_the_environment_is_exactly_what_was_given_and_three_variables_of_ours(folder, monkeypatch):
    monkeypatch.setenv("INHERITED", "no")
    work = order(folder, "print(open('/proc/self/environ').read(), end='')", "python3", environment={"A": "1"})
    given = dict(line.split("=", 1) for line in said_by(work).split("\ufffd")[:-1])
    own = {name: given.pop(name) for name in ("SOP_OUTPUT", "SOP_PARAMS", "SOP_COOKIE")}
    assert given == work.environment
    assert Path(own["SOP_PARAMS"]).read_bytes() == work.parameters_json


def said_by(work: WorkOrder) -> str:
    result = result_of(work)
    assert result.error == ""
    return result.output


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_values_arrive_as_data(folder, name):
    script = f'printf %s "${name}"; test ! -e pwned'
    result, shown = whole(order(folder, script, environment=HOSTILE))
    assert result.error == ""
    assert shown == os.fsencode(HOSTILE[name])


def test_bash_does_not_read_the_engines_bash_env(folder, monkeypatch):
    (folder / "rc").write_text("echo from rc\n")
    monkeypatch.setenv("BASH_ENV", str(folder / "rc"))
    monkeypatch.setenv("ENV", str(folder / "rc"))
    assert said(folder, "echo script") == "script\n"


def test_stdin_is_empty(folder):
    assert said(folder, "readlink /proc/self/fd/0; cat") == "/dev/null\n"


def test_no_descriptor_of_the_engine_reaches_the_step(folder):
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        # ls itself opens one to list them
        assert said(folder, "ls /proc/self/fd") == "0\n1\n2\n3\n"
    finally:
        os.close(reading)
        os.close(writing)


def test_every_signal_is_as_it_is_by_default(folder):
    internal = 0b11 << 31  # 32 and 33 belong to the C library, and no program can set them
    for mask in said(folder, "grep -E 'Sig(Ign|Blk)' /proc/self/status").split()[1::2]:
        assert int(mask, 16) & ~internal == 0


def test_the_step_leads_a_session_of_its_own(folder):
    pid, group, session = said(folder, "read -r p _ _ _ g s _ < /proc/$$/stat; echo $p $g $s").split()
    assert pid == group == session


def test_umask_and_working_directory_are_as_ordered(folder):
    (folder / "inner dir").mkdir()
    text = said(folder, "umask; pwd", umask=0o027, working_dir=folder / "inner dir")
    assert text == f"0027\n{folder}/inner dir\n"


def test_our_own_files_are_private(folder):
    work = order(folder, "echo hello", umask=0)
    result_of(work)
    found = [work.folder, *work.folder.rglob("*")]
    assert {path.name for path in found} >= {"output.log", "0", "script", "started", "result", "values", "params.json"}
    for path in found:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_order_with_its_secrets_does_not_stay_on_disk(folder):
    work = order(folder, "true", environment={"TOKEN": "s3cret-s3cret"})
    result_of(work)
    assert not [path for path in work.folder.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_the_script_is_the_exact_text(folder):
    work = order(folder, "# é\r\ntrue \\\n  # no newline at the end")
    result_of(work)
    assert (work.folder / "0" / "script").read_bytes() == work.step.script.text.encode()


@pytest.mark.parametrize(
    ("interpreter", "text", "output"),
    [
        ("sh", "echo ${BASH_VERSION:-plain}", "plain\n"),
        ("bash", "echo ${BASH_VERSION:+bash}; shopt -qo pipefail && echo pipefail", "bash\npipefail\n"),
        ("python3", "import sys; print(sys.version_info.major)", "3\n"),
    ],
)
def test_each_interpreter_runs_its_script(folder, interpreter, text, output):
    if interpreter == "sh" and os.path.realpath("/bin/sh").endswith("bash"):
        output = "bash"
    assert said(folder, text, interpreter).startswith(output)


@pytest.mark.parametrize(
    ("text", "interpreter", "error"),
    [
        ("exit 3", "bash", "exit status 3"),
        ("false; echo on", "bash", "exit status 1"),
        ("false | true", "bash", "exit status 1"),
        ("false; echo on", "sh", "exit status 1"),
        ("raise SystemExit(4)", "python3", "exit status 4"),
        ("no-such-command", "bash", "exit status 127: command not found"),
        ("./script.sh", "bash", "exit status 127: command not found"),
        ("/", "bash", "exit status 126: permission denied, or not a program"),
        ("bash -c 'kill -SEGV $$'", "bash", "exit status 139: a command in it was killed by SIGSEGV"),
    ],
)
def test_a_failure_tells_the_exit_status_in_words(folder, text, interpreter, error):
    result = result_of(order(folder, text, interpreter))
    assert (result.error, result.cause) == (error, "exit")
    assert result.exit_code == int(error.split()[2].rstrip(":"))
    assert "on\n" not in result.output


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("TERM", "killed by SIGTERM"),
        ("HUP", "killed by SIGHUP"),
        ("KILL", "killed by SIGKILL: the machine may have run out of memory"),
    ],
)
def test_a_process_killed_from_outside_is_failed_with_the_signals_name(folder, name, error):
    result = result_of(order(folder, f"kill -{name} $$; sleep 5"))
    assert (result.error, result.cause, result.signal, result.exit_code) == (error, "signal", f"SIG{name}", None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"working_dir": Path("/no/such/dir")}, "working directory /no/such/dir does not exist"),
        ({"environment": {"PATH": "/no/bin"}}, "there is no bash on its PATH (/no/bin)"),
        ({"environment": {"BIG": "x" * 3_000_000}}, "environment is too large"),
        ({"environment": {"NUL": "a\0b"}}, "'NUL' holds a character"),
        ({"environment": {"LONE": "\ud800"}}, "surrogates not allowed"),
    ],
)
def test_a_step_that_cannot_be_started_fails_and_says_why(folder, changes, words):
    result = result_of(order(folder, "echo never", **changes))
    assert result.cause == "start"
    assert words in result.error
    assert result.output == ""


def test_a_keeper_that_cannot_run_is_told_with_its_own_words(folder, monkeypatch):
    broken = folder / "python"
    broken.write_text("#!/bin/sh\necho this python is broken >&2\n")
    broken.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(broken))
    result = result_of(order(folder, "echo never"))
    assert result.cause == "start"
    assert "this python is broken" in result.error


def test_stdout_and_stderr_stand_in_the_order_in_which_they_were_written(folder):
    assert said(folder, "echo one; echo two >&2; echo three > /dev/stderr; echo four > /dev/stdout; echo five") == (
        "one\ntwo\nthree\nfour\nfive\n"
    )


def test_a_left_over_child_that_holds_stdout_delays_nothing_is_counted_and_lives_on(folder):
    work = order(folder, 'sleep 300 & echo $! > "$STARTS"')
    result = result_of(work)
    pid = int(Path(work.environment["STARTS"]).read_text())
    try:
        assert result.error == ""
        assert result.warnings == ("1 process that the step started still ran when it ended",)
        assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep")
    finally:
        os.kill(pid, 9)


def test_a_left_over_child_that_goes_on_writing_does_not_die_of_it(folder):
    work = order(folder, '( while [ -e "$GATE" ]; do echo x; echo >> "$STARTS"; sleep 0.01; done; touch ended ) & true')
    result = result_of(work)
    beats = Path(work.environment["STARTS"])
    heard = beats.stat().st_size
    assert result.error == ""
    until(lambda: beats.stat().st_size > heard + 5)
    Path(work.environment["GATE"]).unlink()
    until((folder / "ended").exists)


def test_what_a_child_of_the_shell_writes_just_after_the_end_is_kept(folder):
    assert said(folder, "exec > >(sleep 0.03; cat); echo late") == "late\n"


def test_a_step_may_close_its_output_and_go_on(folder):
    assert said(folder, "echo before; exec >&- 2>&-; sleep 0.1; true") == "before\n"


def test_huge_output_is_bounded_in_memory_and_hashed_whole(folder):
    size = 50_000_000
    tracemalloc.start()
    try:
        work = order(folder, f"head -c {size} /dev/zero | tr '\\0' x")
        result = run(_quiet(work))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.output_bytes == size
    assert result.output_sha256 == hashlib.sha256(b"x" * size).hexdigest()
    assert f"… {size - 16384} bytes left out, see the log …" in result.output
    assert len(result.output) < 17_000
    assert peak < 4_000_000
    assert (work.folder / "output.log").stat().st_size == size
    assert not (work.folder / "0" / "spool").exists()


async def _quiet(work: WorkOrder) -> StepResult:
    return ok(await (await executor().start(work, lambda _: None)).wait())


def test_a_log_past_the_limit_keeps_both_ends_and_recovery_still_knows_the_whole(folder, monkeypatch):
    monkeypatch.setattr(spool, "LOG_HALF_BYTES", 50_000)
    work = order(folder, "seq 1 100000")
    first = result_of(work)
    data = "".join(f"{number}\n" for number in range(1, 100001)).encode()
    log = (work.folder / "output.log").read_bytes()
    assert log.startswith(data[:50_000])
    assert log.endswith(data[-50_000:])
    assert f"… {len(data) - 100_000} bytes left out …".encode() in log
    assert first.output_sha256 == hashlib.sha256(data).hexdigest()
    assert run(_recovered(work)) == first


async def _recovered(work: WorkOrder) -> StepResult:
    watch = await executor().recover(work, lambda _: None)
    return ok(await watch.wait())


def test_bytes_that_are_no_text_are_replaced_in_the_record_and_kept_in_the_log(folder):
    work = order(folder, r"printf 'a\000b\377c'")
    result = result_of(work)
    assert result.output == "a\ufffdb\ufffdc"
    assert (work.folder / "output.log").read_bytes() == b"a\0b\xffc"
    assert result.output_sha256 == hashlib.sha256(b"a\0b\xffc").hexdigest()


def test_head_and_tail_are_cut_between_characters(folder):
    result = result_of(order(folder, "printf x; for i in {1..9000}; do printf é; done"))
    head, left_out, tail = result.output.split("\n")
    assert head == "x" + "é" * 2047
    assert tail == "é" * 6144
    assert left_out == f"… {18001 - 4095 - 12288} bytes left out, see the log …"


def test_outputs_are_read_when_the_process_ends(folder):
    text = 'echo url=https://x >> "$SOP_OUTPUT"; echo count=3 >> "$SOP_OUTPUT"'
    result = result_of(order(folder, text, output_types={"count": "integer"}))
    assert result.outputs == {"url": "https://x", "count": 3}


def test_an_unreadable_output_fails_the_step_and_names_the_line(folder):
    result = result_of(order(folder, 'printf "ok=1\nnonsense\n" >> "$SOP_OUTPUT"'))
    assert (result.cause, result.exit_code) == ("output", 0)
    assert "line 2 of $SOP_OUTPUT" in result.error


def test_an_unreadable_output_of_a_failed_step_is_only_a_warning(folder):
    result = result_of(order(folder, 'echo nonsense > "$SOP_OUTPUT"; exit 3'))
    assert (result.cause, result.error) == ("exit", "exit status 3")
    assert "line 1 of $SOP_OUTPUT" in result.warnings[0]


@pytest.mark.parametrize("change", ['rm "$SOP_OUTPUT"; mkfifo "$SOP_OUTPUT"', 'rm "$SOP_OUTPUT"; mkdir "$SOP_OUTPUT"'])
def test_an_output_file_that_is_no_file_fails_the_step_and_blocks_nothing(folder, change):
    result = result_of(order(folder, change))
    assert result.cause == "output"


def test_a_removed_output_file_means_no_outputs(folder):
    assert result_of(order(folder, 'rm "$SOP_OUTPUT"')).outputs == {}


def test_everything_works_without_pidfd(folder, monkeypatch):
    def missing(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing)
    result, shown = whole(order(folder, "echo one; sleep 0.2; echo two; exit 3"))
    assert (result.error, shown) == ("exit status 3", b"one\ntwo\n")
    assert run(_stopped_without_pidfd(folder / "second")).cause == "cancelled"


async def _stopped_without_pidfd(folder: Path) -> StepResult:
    folder.mkdir()
    watch = await executor().start(order(folder, "sleep 300"), lambda _: None)
    await asyncio.sleep(0)
    until((folder / "attempt" / "0" / "started").exists)
    await watch.stop()
    end_all(folder)
    return ok(await watch.wait())


def test_sixty_steps_at_once_end_each_with_its_own_result(folder):
    async def one(number: int) -> StepResult:
        home = folder / str(number)
        home.mkdir()
        watch = await executor().start(order(home, f"echo {number}; exit {number % 7}"), lambda _: None)
        return ok(await watch.wait())

    async def story() -> list[StepResult]:
        return list(await asyncio.gather(*(one(number) for number in range(60))))

    for number, result in enumerate(run(story())):
        assert (result.output, result.exit_code) == (f"{number}\n", number % 7)


def test_the_registration_does_not_import_asyncio():
    import subprocess
    import sys

    code = "import sys, sopwith.executors.shell, sopwith.executors.manual; assert 'asyncio' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_both_kinds_pass_the_registration_of_an_outsider():
    from sopwith.executors import manual, shell
    from sopwith.plugins import Registry

    registry = Registry()
    assert registry.kind("shell") is shell.KIND
    assert registry.kind("manual") is manual.KIND
    assert shell.KIND.make is not None
    assert isinstance(shell.KIND.make(), shell.ShellExecutor)


@pytest.mark.parametrize(
    ("interpreter", "text", "codes"), [("bash", "true", []), ("zsh", "a\0b", ["unknown_interpreter", "nul_in_script"])]
)
def test_a_script_that_cannot_run_is_found_when_the_file_is_read(folder, interpreter, text, codes):
    from sopwith.executors.shell import KIND

    step = msgspec.structs.replace(order(folder, text, interpreter).step, number=2)
    assert KIND.check is not None
    problems = list(KIND.check(step))
    assert [problem.code for problem in problems] == codes
    assert all(problem.path == "$.steps[1].run" for problem in problems)
