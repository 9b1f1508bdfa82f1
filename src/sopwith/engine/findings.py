"""What `sop doctor` has to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was not as it should be; `mended` tells whether it is now, `mendable` whether that is possible.

    In a dry run nothing is mended: the message says what would be done.
    """

    message: str
    mended: bool = False
    mendable: bool = False
    hint: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "message": self.message,
            "mended": self.mended,
            "mendable": self.mended or self.mendable,
            "hint": self.hint,
        }


def findings_document(findings: Sequence[Finding]) -> dict[str, Any]:
    """`{findings, healthy}`: healthy is a workspace in which nothing is left that is not as it should be."""
    return {
        "findings": [finding.document() for finding in findings],
        "healthy": all(finding.mended for finding in findings),
    }
