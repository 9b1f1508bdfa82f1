"""What config.json says of notifications: which moments are told, over which channels, and to whom which.

What an event comes to is `notices.py`'s question; reading the file is `parse/notifications.py`'s work.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from sopwith.core.procedure import Priority


class Moment(StrEnum):
    """What can be told. The values are the switches of config.json."""

    APPROVAL_REQUIRED = "onApprovalRequired"
    APPROVAL_REMINDER = "onApprovalReminder"
    APPROVAL_ESCALATED = "onApprovalEscalated"
    APPROVAL_EXPIRED = "onApprovalExpired"
    MANUAL_STEP = "onManualStep"
    STEP_COMPLETED = "onStepCompleted"
    RUN_PAUSED = "onRunPaused"
    RUN_COMPLETED = "onRunCompleted"
    RUN_FAILED = "onRunFailed"


TOLD = tuple(moment for moment in Moment if moment is not Moment.STEP_COMPLETED)
"""What is told where nothing else is said."""


class ChannelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One way to somebody. `kind` is apprise, webhook, command, or the name of a plugin.

    The address is `url`, or stands in the variable `url_env`; `secret_env` is the variable with the key of a webhook.
    """

    kind: str
    url: str = ""
    url_env: str = ""
    secret_env: str = ""
    command: tuple[str, ...] = ()
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    """Of a plugin, as it is written."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Over which channels what goes. What is empty holds for all; all that is said must fit."""

    channels: tuple[str, ...]
    procedures: tuple[str, ...] = ()
    """Names, and patterns of names with `*`."""
    priorities: tuple[Priority, ...] = ()
    groups: tuple[str, ...] = ()
    """Those whom the gate asks."""
    moments: tuple[Moment, ...] = ()


class Notifications(msgspec.Struct, frozen=True, kw_only=True):
    """No channels: nobody is told. No routes: everything that is switched on goes over all channels."""

    moments: tuple[Moment, ...] = TOLD
    """What is switched on."""
    channels: dict[str, ChannelConfig] = msgspec.field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    public_url: str = ""
    """Where the server is found by those who are told; without a slash at its end."""
