"""Which disk a path is on: another machine's is known by its mount, and what is local is never refused."""

from pathlib import Path

import pytest

from lossboard_server.store.files.mounts import find_mount, find_network

LOCAL = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda1 rw,discard
30 27 0:25 / /dev/shm rw,nosuid,nodev - tmpfs tmpfs rw,size=24684084k
"""
CLUSTER = """\
21 1 259:2 / / rw,relatime shared:1 - xfs /dev/nvme0n1p2 rw,attr2,inode64
84 21 0:52 / /home rw,relatime shared:40 - autofs systemd-1 rw,fd=56,pgrp=1,timeout=0,direct
90 84 0:60 / /home rw,relatime shared:41 - nfs4 store1:/export/home rw,vers=4.2,hard,proto=tcp
91 21 0:61 / /scratch rw,relatime - lustre 10.0.0.1@o2ib:/work rw,flock
92 21 0:62 / /gpfs/data\\040of\\040all rw,relatime - gpfs data rw
93 21 259:3 /cache /home/ada/.cache rw,relatime - xfs /dev/nvme1n1 rw
94 21 0:64 / /srv/nfs-backup rw,relatime - ext4 /dev/sdb1 rw
"""


def line(kind: str, source: str, options: str = "rw") -> str:
    return f"{LOCAL}91 27 0:61 / /mnt rw,relatime shared:3 master:1 - {kind} {source} {options}\n"


@pytest.fixture
def told(tmp_path: Path) -> Path:
    return tmp_path / "mountinfo"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ada/.local/state/lossboard/lossboard.db", "nfs4"),
        ("/home", "nfs4"),
        ("/scratch/ada/x.db", "lustre"),
        ("/gpfs/data of all/x.db", "gpfs"),
        ("/home/ada/.cache/x.db", None),
        ("/srv/nfs-backup/x.db", None),
        ("/homework/x.db", None),
        ("/scratchy.db", None),
    ],
)
def test_deepest_and_newest_mount_of_a_path_decides(told: Path, path: str, kind: str | None) -> None:
    told.write_text(CLUSTER)
    assert find_network(Path(path), told) == kind


@pytest.mark.parametrize(
    ("kind", "source", "options"),
    [
        ("nfs", "10.0.0.5:/export", "rw,vers=3"),
        ("cifs", "//nas/share", "rw,username=ada"),
        ("smb3", "//nas/share", "rw"),
        ("ceph", "10.0.0.7:6789:/", "rw"),
        ("beegfs", "beegfs_nodev", "rw"),
        ("afs", "#root.cell.", "rw"),
        ("9p", "10.0.0.9", "rw,trans=tcp,port=564"),
        ("fuse.sshfs", "ada@login:/home/ada", "rw,user_id=1000"),
        ("fuse.glusterfs", "gl1:/volume", "rw"),
        ("fuse.rclone", "drive:", "rw"),
        ("fuse", "https://cloud.example.org/dav/", "rw"),
        ("fuse.unheardof", "storage.example.org:/exports/a", "rw"),
        ("fuse.juicefs", "JuiceFS:volume", "rw"),
    ],
)
def test_disk_of_another_machine_is_known(told: Path, kind: str, source: str, options: str) -> None:
    told.write_text(line(kind, source, options))
    assert find_network(Path("/mnt/x.db"), told) == kind
    assert find_network(Path("/var/x.db"), told) is None


@pytest.mark.parametrize(
    ("kind", "source", "options"),
    [
        ("ext4", "/dev/sda1", "rw"),
        ("xfs", "/dev/mapper/vg-data", "rw"),
        ("btrfs", "/dev/sda2", "rw,subvol=/@home"),
        ("zfs", "tank/home", "rw,xattr"),
        ("overlay", "overlay", "rw,lowerdir=/l,upperdir=/u,workdir=/w"),
        ("tmpfs", "tmpfs", "rw"),
        ("virtiofs", "shared", "rw"),
        ("fakeowner", "/run/host_mark/Users", "rw"),
        ("fuseblk", "/dev/sdc1", "rw"),
        ("fuse.fuse-overlayfs", "fuse-overlayfs", "rw"),
        ("fuse.gocryptfs", "/home/ada/.secret", "rw"),
        ("fuse.mergerfs", "disk1:disk2", "rw"),
        ("9p", "none", "rw,trans=fd,rfdno=4,wfdno=4,aname=/"),
        ("9p", "C:\\134", "rw,aname=drvfs;path=C:\\,trans=fd,rfd=8,wfd=8"),
    ],
)
def test_disk_of_this_machine_is_never_refused(told: Path, kind: str, source: str, options: str) -> None:
    told.write_text(line(kind, source, options))
    assert find_network(Path("/mnt/x.db"), told) is None


def test_what_can_not_be_read_refuses_nothing(told: Path) -> None:
    assert find_network(Path("/mnt/x.db"), told) is None
    told.write_text("no mountinfo\n\n1 2 3\n1 2 0:1 / /mnt rw - \n")
    assert find_network(Path("/mnt/x.db"), told) is None


def test_this_machines_own_mounts_can_be_read(tmp_path: Path) -> None:
    mountinfo = Path("/proc/self/mountinfo")
    if not mountinfo.exists():
        pytest.skip("this system has no mountinfo")
    mount = find_mount(str(tmp_path.resolve()), mountinfo.read_text())
    assert mount is not None
    assert Path(mount.point).is_mount()
