"""The systemd unit of a server, filled in for one workspace.

Steps are started by the server and live in the same sandbox, so the unit holds only what steps seldom need; each line
that may be in their way says so. docs/how-to/serve.md shows both units, and a test compares them with these.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from sopwith.errors import BadRequest

_UNIT = """\
[Unit]
Description=Sopwith: {name}
Documentation=https://github.com/sopwith/sopwith/blob/main/docs/how-to/serve.md

[Service]
Type=notify
{user}ExecStart={command} serve --workspace {root} --log-format json{listening}
ExecReload=/bin/kill -HUP $MAINPID
# steps outlive the server: only the server itself is to be ended, and they may have control groups of their own
KillMode=process
Delegate=yes
TimeoutStopSec=15
Restart=on-failure
RestartSec=2
# a server that hangs is ended and started anew
WatchdogSec=60
# what procedures name under env.pass
EnvironmentFile=-{environment}
UMask=0077

# All that follows reaches the steps too, for they run in the same sandbox.
# No sudo, no other set-uid program:
NoNewPrivileges=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
{more}
[Install]
WantedBy={target}
"""
_SYSTEM = """\
# What steps write outside these folders, such as a home folder, fails: name it here. /tmp is shared on purpose, for a
# step that outlives the server would lose a private one:
ProtectSystem=strict
ReadWritePaths={root} /tmp /var/tmp
# No devices but /dev/null and the like, no raw sockets, no privileges at all:
PrivateDevices=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
CapabilityBoundingSet=
AmbientCapabilities=
# Of the machine itself:
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
"""


def unit_text(root: Path, *, command: str, user: str | None = None, listening: Sequence[str] = ()) -> str:
    """A unit of the calling user's service manager, or, with `user`, one of the system's that runs as that user.

    `listening`: the options with which it listens for HTTP. Raises BadRequest where a path cannot stand in a unit file.
    """
    folder = re.sub(r"[^A-Za-z0-9_-]", "-", root.name) or "workspace"
    return _UNIT.format(
        name=folder,
        user=f"User={user}\n" if user else "",
        command=_word(command),
        # only there a $ is the beginning of a variable
        root=_word(str(root)).replace("$", "$$"),
        listening="".join(f" {_word(each).replace('$', '$$')}" for each in listening),
        environment=f"/etc/sopwith/{folder}.env" if user else f"%h/.config/sopwith/{folder}.env",
        more=_SYSTEM.format(root=_word(str(root))) if user else "",
        target="multi-user.target" if user else "default.target",
    )


def this_command() -> str:
    """The `sop` of this installation, by its whole path."""
    beside = Path(sys.executable).with_name("sop")
    found = str(beside) if beside.exists() else shutil.which("sop") or sys.argv[0]
    return os.path.abspath(found)  # noqa: PTH100 - a link to it is to stay one


def _word(path: str) -> str:
    if re.search(r'[\x00-\x1f\x7f"\\]', path):
        raise BadRequest(
            "cannot write a unit: a path has a quotation mark, a backslash or a control character in it",
            hint="rename the folder",
        )
    escaped = path.replace("%", "%%")
    return escaped if re.fullmatch(r"[\w./@:+,=%$-]+", escaped, re.ASCII) else f'"{escaped}"'
