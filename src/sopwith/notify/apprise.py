"""More than a hundred services through Apprise, which is imported when the first message goes that way."""

from __future__ import annotations

import threading
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

        # no files of its own, no plugins, no redirects, no templates in what is sent
        asset: Any = apprise.AppriseAsset(
            app_id="Sopwith",
            app_desc="Sopwith",
            plugin_paths=[],
            storage_mode="memory",
            http_redirects=False,
            service_timeout=0,
        )
        self._apprise: Any = apprise.Apprise(asset=asset)
        if not self._apprise.add(url):
            raise NotSent(
                "Apprise does not know such a URL", hint="look its service up: https://appriseit.com/services/"
            )

    def send(self, message: Message) -> str:
        # in a thread that nobody waits for at the end of the process; those of Apprise's own limit would be
        ended: list[bool] = []
        trying = threading.Thread(target=lambda: ended.append(self._notify(message)), name="apprise", daemon=True)
        trying.start()
        trying.join(LIMIT_SECS)
        if trying.is_alive():
            raise NotSent(f"no end within {LIMIT_SECS:.0f} s")
        if ended != [True]:
            raise NotSent("the service did not take it", hint="sop notify test tries again; look at the service")
        return "taken"

    def _notify(self, message: Message) -> bool:
        try:
            sent = self._apprise.notify(
                title=message.title,
                body=message.text.partition("\n\n")[2] or message.text,
                notify_type=_TYPES[message.tone],
                body_format="text",
                interpret_escapes=False,
            )
        except Exception:  # whatever a service raises may hold parts of the URL
            return False
        return bool(sent)


def _make(channel: ChannelConfig, premises: Premises) -> Apprise:
    return Apprise(address_of(channel, premises.environ))


KIND = ChannelKind(name="apprise", make=_make)
