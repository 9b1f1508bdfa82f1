"""Verbs that keep the house: doctor, completion."""

from __future__ import annotations

import click

from sopwith.doors.cli.door import Door, verb
from sopwith.doors.cli.terminal import safe


@click.command()
@click.option("--kill-orphans", is_flag=True, help="End processes of steps that are over and that nobody watches.")
@verb
def doctor(door: Door, kill_orphans: bool) -> None:
    """Check database, views, registry and claims, and mend what can be mended. Exit code 1 if trouble is left."""
    from sopwith.engine.doctor import examine

    findings = examine(door.engine, kill_orphans=kill_orphans)
    left = [finding for finding in findings if not finding.mended]
    document = {"findings": [finding.document() for finding in findings], "healthy": not left}
    door.say(document, lambda: _doctor_text([f.document() for f in findings]))
    door.leave(1 if left else 0)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@verb
def completion(door: Door, shell: str) -> None:
    """Print the completion script of SHELL. For bash: eval "$(sop completion bash)" in ~/.bashrc."""
    from click.shell_completion import ShellComplete, get_completion_class

    from sopwith.doors.cli.app import sop

    found = get_completion_class(shell)
    assert found is not None
    # not its own `source`, which starts a bash to ask for its version
    script = ShellComplete.source(found(sop, {}, "sop", "_SOP_COMPLETE"))
    door.say({"shell": shell, "script": script}, lambda: script)


def _doctor_text(findings: list[dict[str, object]]) -> str:
    if not findings:
        return click.style("all is well", fg="green")
    lines = []
    for finding in findings:
        word = click.style("mended", fg="green") if finding["mended"] else click.style("trouble", fg="red")
        lines.append(f"{word} {safe(str(finding['message']))}")
        if finding["hint"] and not finding["mended"]:
            lines.append(f"    {click.style('hint:', fg='cyan')} {safe(str(finding['hint']))}")
    return "\n".join(lines)
