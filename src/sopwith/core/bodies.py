"""Makes the body of every event type known to the JSON library, at import.

It crashes where several threads meet a type for the first time, so whoever can change a run (`engine/runs.py`) imports
this. A command that only looks has one thread, and meets the few types that its run consists of.
"""

from __future__ import annotations

import msgspec

from sopwith.core.events import EventBody

BODIES = msgspec.json.Decoder(EventBody)
