"""Which file systems a database may lie on."""

from pathlib import Path

import pytest

from sopwith.errors import StoreError
from sopwith.stores import mounts, opening
from sopwith.stores.mounts import Mount, find_mount, mount_of
from sopwith.stores.sqlite import SqliteStore

TOLD = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:40 / /home rw,nosuid shared:2 master:1 - nfs4 server:/home rw,vers=4.2
31 30 0:41 / /home/ann/disk rw - xfs /dev/sdb1 rw
32 27 0:42 / /mnt/with\040space rw - fuse.sshfs bob@host:/ rw
33 27 0:43 / /srv rw - nfs server:/srv rw
34 33 0:44 / /srv rw - btrfs /dev/sdc rw
torn line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/opt/shop/.pi/sops", "ext4"),
        ("/home", "nfs4"),
        ("/home/ann/x", "nfs4"),
        ("/home/ann/disk", "xfs"),
        ("/home/ann/disk/x", "xfs"),
        ("/home/ann/diskette", "nfs4"),
        ("/homework", "ext4"),
        ("/mnt/with space/x", "fuse.sshfs"),
        ("/srv/x", "btrfs"),
    ],
)
def test_a_path_lies_on_the_longest_mount_and_the_last_one_there(path: str, kind: str) -> None:
    found = find_mount(TOLD, path)
    assert found is not None
    assert found.kind == kind


def test_without_mounts_nobody_can_tell() -> None:
    assert find_mount("", "/x") is None


@pytest.mark.parametrize(
    "kind",
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "afs",
        "ceph",
        "glusterfs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "lustre",
        "davfs",
        "fuse.davfs2",
        "9p",
        "gfs2",
        "ocfs2",
        "vboxsf",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.gvfsd-fuse",
        "fuse.juicefs",
    ],
)
def test_what_other_machines_may_write_to_is_shared(kind: str) -> None:
    assert Mount("/", kind).is_shared
    assert not Mount("/", kind).is_doubtful


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "f2fs", "bcachefs", "ext3", "vfat", "apfs"]
)
def test_a_local_disk_is_not_shared(kind: str) -> None:
    assert not Mount("/", kind).is_shared
    assert not Mount("/", kind).is_doubtful


@pytest.mark.parametrize("kind", ["virtiofs", "fuse", "fuseblk", "fuse.encfs", "fuse.something", "fuseblk.ntfs-3g"])
def test_of_some_nobody_can_tell(kind: str) -> None:
    assert not Mount("/", kind).is_shared
    assert Mount("/", kind).is_doubtful


def test_a_store_on_a_shared_file_system_is_refused_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "mountinfo"
    told.write_text(f"27 1 254:0 / / rw - ext4 /dev/vda rw\n30 27 0:40 / {tmp_path} rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", told)
    with pytest.raises(StoreError, match="lies on nfs4, which other machines") as caught:
        SqliteStore(tmp_path / "sops" / "runs.db")
    assert "local disk" in caught.value.hint
    assert not (tmp_path / "sops" / "runs.db").exists()


def test_a_link_is_followed_to_where_the_file_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "mountinfo"
    (tmp_path / "share").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "share")
    told.write_text(f"27 1 254:0 / / rw - ext4 /dev/vda rw\n30 27 0:40 / {tmp_path}/share rw - cifs //s/x rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", told)
    found = mount_of(tmp_path / "link" / "runs.db")
    assert found is not None
    assert found.is_shared


def test_a_database_that_is_a_link_to_a_shared_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "mountinfo"
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "runs.db").touch()
    (tmp_path / "runs.db").symlink_to(tmp_path / "share" / "runs.db")
    told.write_text(f"27 1 254:0 / / rw - ext4 /dev/vda rw\n30 27 0:40 / {tmp_path}/share rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", told)
    with pytest.raises(StoreError, match="lies on nfs4, which other machines"):
        SqliteStore(tmp_path / "runs.db")


def test_a_restore_that_was_cut_short_keeps_the_store_closed(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    SqliteStore(database).close()
    opening.restoring_path(database).touch()
    with pytest.raises(StoreError, match="restore is replacing it, or was cut short") as caught:
        SqliteStore(database)
    assert "again" in caught.value.hint
    opening.restoring_path(database).unlink()
    SqliteStore(database).close()
