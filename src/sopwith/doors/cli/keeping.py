"""Verbs that keep the house: doctor, completion."""

from __future__ import annotations

import click

from sopwith.core.visible import visible
from sopwith.doors.cli.door import Door, verb


@click.command()
@verb
def doctor(door: Door) -> None:
    """Check database, views, registry and claims, and mend what can be mended. Exit code 1 if trouble is left."""
    from sopwith.engine.doctor import examine

    findings = examine(door.engine)
    left = [finding for finding in findings if not finding.mended]
    document = {"findings": [finding.document() for finding in findings], "healthy": not left}
    door.say(document, lambda: _doctor_text([f.document() for f in findings]), success=not left)
    door.leave(1 if left else 0)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL. For bash: eval "$(sop completion bash)" in ~/.bashrc."""
    from click.shell_completion import get_completion_class

    from sopwith.doors.cli.app import sop

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(sop, {}, "sop", "_SOP_COMPLETE").source())


def _doctor_text(findings: list[dict[str, object]]) -> str:
    if not findings:
        return click.style("all is well", fg="green")
    lines = []
    for finding in findings:
        word = click.style("mended", fg="green") if finding["mended"] else click.style("trouble", fg="red")
        lines.append(f"{word} {visible(str(finding['message']))}")
        if finding["hint"] and not finding["mended"]:
            lines.append(f"    {click.style('hint:', fg='cyan')} {finding['hint']}")
    return "\n".join(lines)
