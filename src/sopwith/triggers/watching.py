"""Words about changed folders, from inotify and its like through watchfiles, where that is installed (extra `server`).

Only hints: words may be lost, come late, or come for nothing. Whoever hears one looks through the folders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_OWN = ".pi"
_DEBOUNCE_MS = 200
_AGAIN_SECS = 5.0
_SOON_SECS = 0.5


class FileWatcher:
    """`engine.triggering.Watcher`; to be used in the loop."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tasks: dict[tuple[str, bool], asyncio.Task[None]] = {}

    def watch(self, folders: Sequence[tuple[str, bool]], changed: Callable[[], None]) -> bool:
        try:
            import watchfiles
        except ImportError:
            return False
        for folder in self._tasks.keys() - set(folders):
            self._tasks.pop(folder).cancel()
        for folder in folders:
            if folder not in self._tasks or self._tasks[folder].done():
                self._tasks[folder] = asyncio.ensure_future(self._tell(watchfiles, *folder, changed))
        # a folder that is not there cannot be watched
        return all((self._root / folder).is_dir() for folder, _ in folders)

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    async def _tell(self, watchfiles: Any, folder: str, below: bool, changed: Callable[[], None]) -> None:
        own = str(self._root / _OWN)

        def is_ours(_change: object, path: str) -> bool:
            return not (path == own or path.startswith(own + "/"))

        while True:
            try:
                async for _ in watchfiles.awatch(
                    self._root / folder,
                    watch_filter=is_ours,
                    recursive=below,
                    debounce=_DEBOUNCE_MS,
                    ignore_permission_denied=True,
                ):
                    changed()
            except (OSError, RuntimeError):
                # no such folder yet, or no more watches to be had: scans do without
                await asyncio.sleep(_AGAIN_SECS)
            except ExceptionGroup:
                # it was told of a name that is not UTF-8, and of nothing else that came with it
                changed()
                await asyncio.sleep(_SOON_SECS)
