"""The verb `completion`: the script by which a shell completes the command's words."""

from __future__ import annotations

import click

from sopwith.doors.cli.door import Door, verb


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
