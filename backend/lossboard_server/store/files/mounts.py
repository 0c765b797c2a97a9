"""What kind of file system a path is on: SQLite's locks don't hold on another machine's disk."""

import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

MOUNTINFO: Final = Path("/proc/self/mountinfo")

# Served by another machine, whatever the mount says besides. Cluster file systems are among them: SQLite's
# shared memory is of one machine, and a second service may start on another.
NETWORK_TYPES: Final = frozenset(
    "nfs nfs3 nfs4 cifs smb smb2 smb3 smbfs ncp ncpfs afs kafs coda lustre gpfs mmfs beegfs fhgfs ceph "
    "glusterfs orangefs pvfs2 panfs gfs gfs2 ocfs2 acfs snfs weka wekafs quobyte moosefs davfs "
    # Folders of a virtual machine's host: they give no shared memory.
    "vboxsf vmhgfs prl_fs".split()
)
# A program on this machine that speaks to others, by its name after `fuse.`.
NETWORK_FUSE: Final = frozenset(
    "sshfs s3fs s3fs-fuse goofys gcsfuse blobfuse blobfuse2 mount-s3 rclone glusterfs ceph ceph-fuse beegfs "
    "mfs moosefs lizardfs saunafs juicefs weed seaweedfs davfs davfs2 curlftpfs hdfs fuse_dfs alluxio "
    "alluxio-fuse cernvmfs cvmfs2 dbxfs dbfs drive google-drive-ocamlfuse onedriver gvfsd-fuse smbnetfs "
    "vmhgfs-fuse tahoe ipfs".split()
)
# A mount's source that names another machine: host:/path, user@host:path, //host/share, https://…
_ELSEWHERE: Final = re.compile(r"[a-z][a-z0-9+.-]*://|//[^/]|[^/\s:]+:(?:/|$)")
_OVER_NETWORK: Final = re.compile(r"(?:^|,)trans=(?:tcp|rdma)(?:,|$)")
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of mountinfo: where it is mounted, its type, what it shows, the file system's options."""

    point: str
    kind: str
    source: str
    options: str


def find_network(path: Path, mountinfo: Path = MOUNTINFO) -> str | None:
    """Name the network file system that a path is on; None on a local one, or where nobody tells.

    Linux tells by mountinfo, Windows by the path of a share. macOS tells the standard library nothing.
    """
    if sys.platform == "win32":
        return "a Windows share" if path.drive.startswith("\\\\") else None
    try:
        text = mountinfo.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None  # no Linux, or no /proc
    mount = find_mount(str(path), text)
    return mount.kind if mount is not None and is_network(mount) else None


def find_mount(path: str, mountinfo: str) -> Mount | None:
    """Return the mount that a resolved path is on: the deepest, of several in one place the newest.

    Source: proc_pid_mountinfo(5).
    """
    found: Mount | None = None
    for line in mountinfo.splitlines():
        mount = _read_mount(line)
        if mount is None or not _is_below(path, mount.point):
            continue
        if found is None or len(mount.point) >= len(found.point):
            found = mount
    return found


def is_network(mount: Mount) -> bool:
    """Tell whether another machine holds the files; in doubt no, since nothing overrides a refusal.

    9p is also how gVisor and WSL show this machine's own disk; only its transports to elsewhere count.
    Of FUSE, overlays, encrypted folders and NTFS are local: what decides is the program or the source.
    """
    if mount.kind in NETWORK_TYPES:
        return True
    if mount.kind == "9p":
        return _OVER_NETWORK.search(mount.options) is not None
    if mount.kind == "fuse" or mount.kind.startswith("fuse."):
        return mount.kind.removeprefix("fuse.") in NETWORK_FUSE or _ELSEWHERE.match(mount.source) is not None
    return False


def _read_mount(line: str) -> Mount | None:
    before, separator, after = line.partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    if not separator or len(fields) < 6 or len(rest) < 2:
        return None
    return Mount(_unescape(fields[4]), rest[0], _unescape(rest[1]), rest[2] if len(rest) > 2 else "")


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)


def _is_below(path: str, point: str) -> bool:
    return point == "/" or path == point or path.startswith(point + "/")
