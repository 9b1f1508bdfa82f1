"""Completion as the shells ask for it: verbs, options, names, run ids."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from .workshop import SOP, Workshop


def completed(workshop: Workshop, *words: str, shell: str = "bash") -> list[str]:
    """What is offered for the last word."""
    environment = {
        "_SOP_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(words) if shell != "fish" else " ".join(words[:-1]),
        "COMP_CWORD": str(len(words) - 1) if shell != "fish" else words[-1],
    }
    told = workshop.process(env=environment)
    assert told.code == 0
    assert told.err == ""
    return [line for line in told.out.splitlines() if line]


def test_verbs_are_completed(workshop: Workshop) -> None:
    assert completed(workshop, "sop", "re") == ["plain,reject", "plain,resume", "plain,retry", "plain,restore"]


def test_names_of_procedures_are_completed(workshop: Workshop) -> None:
    workshop.steps("deploy", "Do | true")
    workshop.steps("destroy", "Do | true")
    for verb in ("run", "show", "validate", "history"):
        assert completed(workshop, "sop", verb, "de") == ["plain,deploy", "plain,destroy"]


def test_run_ids_are_completed(workshop: Workshop) -> None:
    workshop.steps("fine", "Do | true")
    run = workshop.started("fine", code=0)
    for verb in ("status", "approve", "logs", "audit", "resume"):
        assert completed(workshop, "sop", verb, "sop_") == [f"plain,{run}"]


def test_options_and_modes_are_completed(workshop: Workshop) -> None:
    assert "plain,--param" in completed(workshop, "sop", "run", "--p")
    assert completed(workshop, "sop", "run", "--mode", "s") == ["plain,supervised", "plain,step_by_step"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_answered(workshop: Workshop, shell: str) -> None:
    assert any("status" in line for line in completed(workshop, "sop", "stat", shell=shell))


def test_outside_a_workspace_completion_is_silent(workshop: Workshop) -> None:
    told = workshop.process(
        env={"_SOP_COMPLETE": "bash_complete", "COMP_WORDS": "sop run ", "COMP_CWORD": "2", "SOPWITH_WORKSPACE": "/"}
    )
    assert (told.code, told.out.strip(), told.err) == (0, "", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_accepted_by_its_shell(workshop: Workshop, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    script = workshop.sop("completion", shell).out
    done = subprocess.run([program, "-n", "/dev/stdin"], input=script, text=True, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_really_completes(workshop: Workshop) -> None:
    workshop.steps("deploy", "Do | true")
    (workshop.root / "bin").mkdir()
    command = workshop.root / "bin" / "sop"
    command.write_text(f"#!/bin/sh\nexec {SOP[0]} -c '{SOP[2]}' \"$@\"\n")
    command.chmod(0o755)
    script = workshop.sop("completion", "bash").out
    asked = 'COMP_WORDS=(sop run dep); COMP_CWORD=2; _sop_completion sop dep run; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", f"PATH=$PWD/bin:$PATH\n{script}\n{asked}"],
        cwd=workshop.root,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout.strip() == "deploy", done
