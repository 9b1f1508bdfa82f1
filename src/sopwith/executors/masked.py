"""The output of a step that was given secrets: masked while it is read, and never shown or kept otherwise.

What is masked goes into a file of its own, from which the log is made and which whoever wants to see the output of a
running step reads. The raw spool is only ever read here. An engine that does not know the secrets that a running step
was started with cannot mask them, so it keeps nothing of what that step prints from then on.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from sopwith.executors.launch import Launch, read_if_there
from sopwith.executors.outputs import Values
from sopwith.executors.spool import Log, SpoolReader, private, replace
from sopwith.ports import Confidential

if TYPE_CHECKING:
    from sopwith.core.masking import Mask

WITHHELD = (
    "its output is withheld: a secret that it was given is missing here or has changed, so what it printed could not "
    "be masked"
)
_OUTPUTS_WITHHELD = "its outputs are withheld: a secret that it was given is missing here or has changed"
_NOTICE = f"… {WITHHELD} …\n".encode()
PIECE = 16 * 1024
"""So much is masked at once, before others get their turn."""
_VALUES = msgspec.json.Decoder(Values)


class Secrecy:
    """What has to be hidden of one launch, as far as that is known here."""

    def __init__(self, launch: Launch, confidential: Confidential) -> None:
        self._launch = launch
        self._confidential = confidential
        given = launch.given()
        self.hides = bool(given or confidential.digest)
        """Whether the step was given any secret."""
        self.withholds = bool(given) and given != confidential.digest
        """Whether nobody here knows all of them."""

    @property
    def stands_in(self) -> bool:
        """Whether the masked output is all there is: the log could not be made of it, and the spool had to go."""
        return self.hides and not self._launch.spool.exists() and self._launch.holds_masked()

    @property
    def mask(self) -> Mask:
        # imported only where there are secrets
        from sopwith.core.masking import Mask

        return Mask(self._confidential.values)

    def reader(self, log: Log) -> SpoolReader:
        """Reads the spool as it may be shown."""
        if not self.hides:
            return SpoolReader(self._launch.spool)
        if self.stands_in:
            return SpoolReader(self._launch.masked)
        if not self.withholds:
            return _Masked(self._launch, self.mask)
        return SpoolReader(log.path) if self.reads_log(log) else _Withheld(self._launch)

    def reads_log(self, log: Log) -> bool:
        """Whether the log is all that can be read: an earlier engine made all of it, and died before it had tidied."""
        return self.withholds and log.path.exists() and not self._launch.masked.exists()

    def values(self, values: Values) -> Values:
        """What may be kept of what the step handed on; kept beside it, for $SOP_OUTPUT itself goes."""
        if not self.hides:
            return values
        if (kept := read_if_there(self._launch.kept_values)) != b"":
            return _VALUES.decode(kept)
        told = _withheld(values) if self.withholds else _without_secrets(values, self.mask)
        with suppress(OSError):  # a full disk: $SOP_OUTPUT stays until it is known that it can go
            replace(self._launch.kept_values, msgspec.json.encode(told))
        return told

    def warnings(self) -> tuple[str, ...]:
        """What the mask does not do."""
        if self.withholds:
            return (WITHHELD,)
        from sopwith.core.confidential import MIN_CHARACTERS, can_be_masked

        if self.hides and not all(can_be_masked(value) for value in self._confidential.values):
            return (f"a secret of fewer than {MIN_CHARACTERS} characters was not masked in its output",)
        return ()


class _Masked(SpoolReader):
    """Reads a spool through a mask, and writes down what may be shown."""

    _piece = PIECE

    def __init__(self, launch: Launch, mask: Mask) -> None:
        super().__init__(launch.spool)
        self._masking = mask.stream()
        self._target = launch.masked
        self._shown: BinaryIO | None = None

    def read(self) -> bytes | None:
        if self._shown is None and not self.trouble:
            # before anything is taken from the spool: what fails now can be tried again
            self._open_target()
        return super().read()

    def end(self) -> bytes:
        rest = self._told(self._masking.end())
        self.excerpt.feed(rest, taken=0)
        return rest

    def close(self) -> None:
        super().close()
        self._close_target()

    def _may_be_shown(self, chunk: bytes) -> bytes:
        return self._told(self._masking.feed(chunk))

    def _told(self, shown: bytes) -> bytes:
        try:
            left = memoryview(shown)
            while left and self._shown is not None:
                left = left[self._shown.write(left) :]
        except OSError as error:  # most likely a full disk: what the record holds is made without it
            self.trouble = error.strerror or str(error)
            self._close_target()
        return shown

    def _open_target(self) -> None:
        try:
            self._shown = open(self._target, "wb", buffering=0, opener=private)  # noqa: SIM115
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            self.trouble = error.strerror or str(error)

    def _close_target(self) -> None:
        if self._shown is not None:
            self._shown.close()
            self._shown = None


class _Withheld(SpoolReader):
    """Reads what an earlier engine has masked, and says that there is no more."""

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch.masked)
        self._spool = launch.spool
        self._target = launch.masked
        self._is_told = False
        self._last = b""

    def read(self) -> bytes | None:
        if (chunk := super().read()) is not None:
            self._last = (self._last + chunk)[-len(_NOTICE) :]
            self._is_told |= self._last == _NOTICE
            return chunk
        if self._is_told:
            return None
        self._is_told = True
        with suppress(OSError), open(self._target, "ab", opener=private) as target:
            target.write(_NOTICE)
        return super().read()

    def end(self) -> bytes:
        with suppress(OSError):
            self.excerpt.taken_bytes = max(self.excerpt.taken_bytes, self._spool.stat().st_size)
        return b""


def _without_secrets(values: Values, mask: Mask) -> Values:
    from sopwith.core.redaction import without_secrets

    outputs, dropped = without_secrets(values.outputs, mask)
    warnings = (*(mask.text(warning) for warning in values.warnings), *dropped)
    return Values(outputs, warnings, mask.text(values.problem))


def _withheld(values: Values) -> Values:
    """Whoever depends on an output must not go on without it."""
    return Values({}, problem=_OUTPUTS_WITHHELD if values.outputs or values.problem else "")


def forget(launch: Launch, *, ended: bool) -> tuple[str, ...]:
    """Removes what may hold a secret once the step is over; tells what could not be removed.

    `ended`: its outputs count, and stay where they could not be kept elsewhere.
    """
    gone = [launch.spool, launch.secret_params]
    if launch.kept_values.exists() or not ended:
        gone.append(launch.values)
    stays = []
    for path in gone:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            stays.append(f"{os.fspath(path)} may hold a secret, and could not be removed: {error.strerror}")
    return tuple(stays)
