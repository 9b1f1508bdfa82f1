"""What is shown of an interrupted step: what it says itself, what its verification printed, and the ways on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from sopwith.executors.launch import launches

from .workshop import Terminal, Workshop, end_process, eventually, lines

Open = Callable[..., Terminal]
WAITS = "echo x >> begun; until [ -e go ]; do sleep 0.02; done"


def crashed(workshop: Workshop, policy: str) -> str:
    """A run whose driver, keeper and step were killed in the middle of the step."""
    workshop.procedure(
        "deploy",
        f"# Deploy\n\n**Execution Mode**: auto\n\n## Steps\n\n### Step 1: Deploy\n\n**On Interrupt**: {policy}\n\n"
        f"```bash\n{WAITS}\n```\n",
    )
    driver = workshop.background("run", "deploy")
    try:
        eventually(lambda: lines(workshop, "begun"))
    finally:
        driver.send_signal(signal.SIGKILL)
        end_process(driver)
    run = workshop.run_id("deploy")
    (launch,) = launches(workshop.sops / "runs" / run / "step-1.1.1")
    marks = launch.marks()
    for process in (marks.keeper, marks.child):
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        eventually(lambda process=process: not process.alive())
    (workshop.root / "go").touch()
    return run


HOSTILE = "verify: `printf 'no \\033[31mroute\\n'; exit 9`"


def test_a_verification_that_told_nothing_is_shown_with_the_question_and_the_three_ways(
    workshop: Workshop, terminal: Open
) -> None:
    run = crashed(workshop, HOSTILE)
    screen = terminal("resume", run)
    asked = screen.expect("eave > ")
    assert "interrupted: deploy, step 1: Deploy" in asked
    assert "its verification told nothing: exit status 9" in asked
    assert "onInterrupt verify:printf" in asked
    assert "the verification printed, exit code 9:" in asked
    assert "look before you answer" in asked
    assert "done by hand: it had done its work; retry: it had not, run it again; skip: it is not needed" in asked
    screen.type("d\n")
    screen.expect("comment")
    screen.type("it is there\n")
    screen.expect("evidence")
    screen.type("\n")
    assert screen.end() == 0
    assert lines(workshop, "begun") == 1


def test_status_tells_the_reason_the_command_and_what_it_printed_tamed(workshop: Workshop) -> None:
    run = crashed(workshop, HOSTILE)
    assert workshop.process("resume", run).code == 3
    shown = workshop.sop("status", run).out
    assert "its verification told nothing: exit status 9" in shown
    for verb in ("sop retry", "sop complete", "sop skip"):
        assert f"{verb} {run}" in shown
    step = workshop.sop("status", run, "--step", "1").out
    assert "exit code 9: unknown" in step
    assert "\x1b[31mroute" not in step
    document = workshop.json("status", run)["stepResults"][0]
    assert document["onInterrupt"].startswith("verify:printf")
    check = document["verification"]
    assert (check["outcome"], check["exitCode"], check["because"]) == (
        "unknown",
        9,
        "its verification told nothing: exit status 9",
    )


def test_logs_show_what_the_verification_printed_after_what_the_step_did(workshop: Workshop) -> None:
    run = crashed(workshop, HOSTILE)
    assert workshop.process("resume", run).code == 3
    attempt = workshop.sops / "runs" / run / "step-1.1.1"
    (attempt / "output.log").write_bytes(b"deploying\n")
    told = "deploying\n==> step 1, its verification <==\nno \x1b[31mroute\n"
    assert workshop.sop("logs", run).out == f"==> step 1 <==\n{told}"
    assert workshop.sop("logs", run, "--step", "1").out == told
    own, check = workshop.json("logs", run)["logs"]
    assert (own["sizeBytes"], "verification" in own) == (10, False)
    assert (check["stepNumber"], check["verification"], check["sizeBytes"]) == (1, True, 14)
    assert check["path"].endswith("step-1.1.1/verify/output.log")


def test_events_say_in_words_what_was_done_by_itself(workshop: Workshop) -> None:
    run = crashed(workshop, "verify: `exit 1`")
    shown = workshop.sop("resume", run).out
    assert "step 1/1 interrupted:" in shown
    assert "step 1 is verified: exit 1" in shown
    assert "step 1 was not done, as was verified" in shown
    assert "step 1 is run again after the interruption: 1 of 3" in shown
    assert "completed in" in shown


def test_a_step_that_is_being_verified_says_so(workshop: Workshop) -> None:
    run = crashed(workshop, "verify: `echo x >> looked; until [ -e seen ]; do sleep 0.02; done`")
    driver = workshop.background("resume", run)
    try:
        eventually(lambda: lines(workshop, "looked"))
        assert "it was interrupted, being verified since" in workshop.sop("status", run).out
        assert workshop.json("status", run)["stepResults"][0]["verification"]["outcome"] is None
        refused = workshop.json("complete", run, "--step", "1", code=5)
        assert "step 1 is being verified" in refused["error"]["message"]
        (workshop.root / "seen").touch()
        assert driver.wait(timeout=30) == 0
    finally:
        end_process(driver)


def test_the_command_is_shown_with_the_gate_whole_and_with_visible_escapes(workshop: Workshop, terminal: Open) -> None:
    command = "test -e \u202egnp.enod"
    workshop.procedure(
        "deploy",
        "# Deploy\n\n**Execution Mode**: auto\n\n## Steps\n\n### Step 1: Deploy\n\n**Approval Required**: Yes\n\n"
        f"**On Interrupt**: verify: `{command}`\n\n```bash\ntrue\n```\n",
    )
    screen = terminal("run", "deploy")
    told = screen.expect("etach > ")
    screen.type("d\n")
    assert screen.end() == 3
    assert "if interrupted, bash verifies:" in told
    assert "\u202e" not in told
    assert "202E" in told.upper()
    for verb in (("show", "deploy"), ("run", "deploy", "--dry-run")):
        assert "if interrupted, bash verifies:" in workshop.sop(*verb).out
    assert workshop.json("show", "deploy")["sop"]["steps"][0]["onInterrupt"] == f"verify:{command}"
