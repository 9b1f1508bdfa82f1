"""What around a database may soon stand in its way: the disk, its kind, the WAL, the library. Told by `sop doctor`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sopwith.stores.mounts import mount_of

LEAST_BYTES = 100 * 1024 * 1024
LEAST_FILES = 1000
LARGEST_WAL_BYTES = 256 * 1024 * 1024
"""Four times what the WAL is cut back to whenever nobody reads."""


def troubles(database: Path) -> Iterator[tuple[str, str]]:
    """A sentence and a hint for each."""
    yield from _room(database.parent)
    yield from _kind(database)
    yield from _wal(database.with_name(database.name + "-wal"))


def _room(folder: Path) -> Iterator[tuple[str, str]]:
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        yield f"nobody can tell how much room {folder} has: {error.strerror}", "look at the folder"
        return
    free = disk.f_bavail * disk.f_frsize
    if free < LEAST_BYTES:
        yield f"the disk of {folder} has only {free // (1024 * 1024)} MiB left", "make room before it is full"
    if disk.f_files and disk.f_favail < LEAST_FILES:
        yield f"the disk of {folder} can take only {disk.f_favail} more files", "remove files that nobody needs"


def _kind(database: Path) -> Iterator[tuple[str, str]]:
    mount = mount_of(database)
    if mount is not None and mount.is_doubtful:
        yield (
            f"the database lies on {mount.kind}, of which nobody can tell whether other machines write there too",
            "keep the workspace on a local disk, or make sure that only this machine uses it",
        )


def _wal(wal: Path) -> Iterator[tuple[str, str]]:
    try:
        size = wal.stat().st_size
    except OSError:
        return
    if size > LARGEST_WAL_BYTES:
        yield (
            f"{wal.name} has grown to {size // (1024 * 1024)} MiB: somebody reads the database without an end",
            "look for a process that has it open: fuser -v .pi/sops/runs.db",
        )
