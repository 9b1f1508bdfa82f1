"""More than a hundred services through Apprise, which is imported when the first message goes that way."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

from sopwith.core.messages import Message, Tone
from sopwith.core.notifications import ChannelConfig
from sopwith.errors import NotSent
from sopwith.notify.address import address_of
from sopwith.ports import ChannelKind, Premises

LIMIT_SECS = 20.0
_TYPES = {Tone.ASKS: "warning", Tone.NEWS: "info", Tone.GOOD: "success", Tone.BAD: "failure"}


class Apprise:
    """One URL of Apprise. Nothing of the URL is ever told: it holds a secret."""

    def __init__(self, url: str) -> None:
        if find_spec("apprise") is None:
            raise NotSent("apprise is not installed", hint='pip install "sopwith[notify]"')
        import apprise

        # what it logs may hold parts of the URL
        logging.getLogger("apprise").propagate = False
        logging.getLogger("apprise").addHandler(logging.NullHandler())
        # no files of its own, no plugins, no redirects, no templates in what is sent
        asset: Any = apprise.AppriseAsset(
            app_id="Sopwith", app_desc="Sopwith", plugin_paths=[], storage_mode="memory", http_redirects=False
        )
        self._apprise: Any = apprise.Apprise(asset=asset)
        if not self._apprise.add(url):
            raise NotSent(
                "Apprise does not know such a URL", hint="look its service up: https://appriseit.com/services/"
            )

    def send(self, message: Message) -> str:
        sent: Any = self._apprise.notify(
            title=message.title,
            body=message.text.partition("\n\n")[2] or message.text,
            notify_type=_TYPES[message.tone],
            body_format="text",
            interpret_escapes=False,
            timeout=LIMIT_SECS,
        )
        if sent.status == sent.status.TIMEOUT:
            raise NotSent(f"no end within {LIMIT_SECS:.0f} s")
        if not sent:
            raise NotSent("the service did not take it", hint="sop notify test tries again; look at the service")
        return "taken"


def _make(channel: ChannelConfig, premises: Premises) -> Apprise:
    return Apprise(address_of(channel, premises.environ))


KIND = ChannelKind(name="apprise", make=_make)
