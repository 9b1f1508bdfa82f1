"""The address of a channel: written in config.json, or in a variable because it holds a secret."""

from __future__ import annotations

from collections.abc import Mapping

from sopwith.core.notifications import ChannelConfig
from sopwith.errors import NotSent


def address_of(channel: ChannelConfig, environ: Mapping[str, str]) -> str:
    """Raises NotSent where the variable is not set."""
    return variable(channel.url_env, environ) if channel.url_env else channel.url


def variable(name: str, environ: Mapping[str, str]) -> str:
    """The value of a variable. Raises NotSent, with the name alone, where there is none."""
    value = environ.get(name, "").strip()
    if not value:
        raise NotSent(f"{name} is not set here", hint=f"set {name} in the environment of sop serve")
    return value
