"""On what kind of file system a file lies, and which kinds no database may lie on.

SQLite's WAL shares memory between its users, and our claims are locks of this kernel. Where another machine writes the
same files, neither reaches it: both would write, and the file would be damaged.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPE = r"\\([0-7]{3})"
_NETWORKS = "nfs nfs4 cifs smb3 smbfs ncpfs afs openafs coda 9p davfs davfs2 sshfs ftpfs"
_CLUSTERS = "ceph glusterfs lustre gpfs beegfs orangefs pvfs2 panfs wekafs moosefs gfs gfs2 ocfs2"
_LENT = "vboxsf vmhgfs prl_fs"
"""Folders of the machine around a virtual one."""
_OBJECTS = "s3fs gcsfuse goofys rclone mount-s3 mountpoint-s3 blobfuse blobfuse2 juicefs seaweedfs"
_SHARED = frozenset(f"{_NETWORKS} {_CLUSTERS} {_LENT} {_OBJECTS}".split())
_ONLY_FUSE = "ceph-fuse cephfs curlftpfs gvfsd-fuse gvfs-fuse-daemon vmhgfs-fuse mfs cvmfs2 hdfs fuse_dfs"
_SHARED_FUSE = _SHARED | frozenset(_ONLY_FUSE.split())
_UNKNOWN = frozenset(("fuse", "fuseblk", "virtiofs"))


class Mount(msgspec.Struct, frozen=True):
    """What is mounted at the folder `point`; `kind` as the kernel calls it, `fuse.sshfs` say."""

    point: str
    kind: str

    @property
    def is_shared(self) -> bool:
        """Whether other machines may write there too."""
        family, _, kind = self.kind.partition(".")
        return kind in _SHARED_FUSE if family in ("fuse", "fuseblk") and kind else family in _SHARED

    @property
    def is_doubtful(self) -> bool:
        """Whether nobody can tell by its kind: a program behind FUSE, or a folder that a virtual machine was lent."""
        return not self.is_shared and self.kind.partition(".")[0] in _UNKNOWN


def mount_of(path: Path) -> Mount | None:
    """The mount that this file, or the folder it will be in, lies on; None where the system does not tell."""
    try:
        told = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return find_mount(told, os.path.realpath(path))


def find_mount(mountinfo: str, path: str) -> Mount | None:
    """The mount of an absolute path without links, in the text of /proc/PID/mountinfo.

    It is the one with the longest point; of several at one point, the last one hides the others.
    """
    found: Mount | None = None
    for line in mountinfo.splitlines():
        # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
        before, dash, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = re.sub(_ESCAPE, lambda escape: chr(int(escape[1], 8)), fields[4])
        if _lies_in(path, point) and (found is None or len(point) >= len(found.point)):
            found = Mount(point, kinds[0])
    return found


def _lies_in(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")
