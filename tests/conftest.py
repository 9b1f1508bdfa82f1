"""Tests mean the same wherever they run: in a terminal, in CI, or inside a step of a Sopwith procedure.

Property tests draw the same examples each time, so that the tests of one commit agree with each other; what is new
is looked for by `make fuzz`, which sets SOPWITH_EXAMPLES and draws at random.
"""

from __future__ import annotations

import os

from hypothesis import settings

for _name in [name for name in os.environ if name.startswith(("SOP_", "SOPWITH_ACTOR", "SOPWITH_WORKSPACE"))]:
    del os.environ[_name]

settings.register_profile("same each time", derandomize="SOPWITH_EXAMPLES" not in os.environ)
settings.load_profile("same each time")
