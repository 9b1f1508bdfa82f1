"""Tests mean the same wherever they run: in a terminal, in CI, or inside a step of a Sopwith procedure."""

from __future__ import annotations

import os

for _name in [name for name in os.environ if name.startswith(("SOP_", "SOPWITH_ACTOR", "SOPWITH_WORKSPACE"))]:
    del os.environ[_name]
