"""How runs, writers and processes are named: run ids, readable names, writer ids, a process's start."""

import os
import re
import time
from collections.abc import Mapping
from typing import Final
from zlib import crc32

_BASE32: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: sorts as its numbers do
_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_FIRST: Final = (
    "amber azure brisk calm cedar clear coral dapper eager early fern fleet gentle golden hazel indigo "
    "ivory jade keen lively lunar maple mellow misty nimble olive pale plain quick quiet rapid rosy "
    "russet sage silent silver slate solar steady still sunny swift tidy topaz umber velvet vivid warm"
).split()
_SECOND: Final = (
    "otter heron lynx finch badger crane falcon fox gull hare ibis jay kestrel lark marten newt osprey "
    "owl panda plover puffin quail raven robin seal shrew sparrow stoat stork swan swift tern thrush "
    "toad trout vole wagtail walrus weasel wren yak zebra beaver bison egret gecko koala moose"
).split()


def make_run_id(environ: Mapping[str, str], world_size: int, number: int = 0) -> str:
    """Name a run that nobody named; the ranks of one launch get the same id from what launched them.

    `number` counts the runs of a process that were named so: the second one of a launch (the
    folds of a cross-validation, say) is another run, and on all ranks the same one.
    """
    if world_size > 1:
        shared = _launch_id(environ)
        if shared:
            again = f"-{number + 1}" if number else ""
            return _UNSAFE.sub("-", shared)[: 64 - len(again)] + again
    tail = "".join(_BASE36[byte % 36] for byte in os.urandom(6))
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{tail}"


def make_name(run: str) -> str:
    """Make a readable name of a run id: the same on every rank, without asking anybody."""
    number = crc32(run.encode())
    first, second = _FIRST[number % len(_FIRST)], _SECOND[number // 64 % len(_SECOND)]
    return f"{first}-{second}-{number >> 24:02x}"


def make_writer_id() -> str:
    """Make 26 characters that sort by their time: 48 bits of milliseconds, 10 within one, 70 of chance."""
    number = int(time.time() * 1000 * 1024) << 70 | int.from_bytes(os.urandom(10), "big") >> 10
    return "".join(_BASE32[number >> shift & 31] for shift in range(125, -1, -5))


def make_attempt(world_size: int) -> float:
    """Return the number that identifies this start of the training.

    One process: the time now. Several ranks must agree without talking to each other, so
    they take the start of the process that launched them, which they share on one node.
    """
    parent = started_unix_s(os.getppid()) if world_size > 1 else None
    return round(time.time() if parent is None else parent, 3)


def started_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None where it is gone or /proc can't tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The command stands in parentheses and may hold spaces: count behind the last one.
            fields = stat.read().rpartition(b")")[2].split()
        # A process that was killed keeps its entry until its parent asks for it, in a container
        # whose first process never asks for good. It writes no more.
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None  # not Linux, or the process is gone; callers fall back to the bare pid


def boot_id() -> str | None:
    """Return what names this start of this machine's kernel; None where the system doesn't tell.

    Containers of one machine share it, whatever their host names; a reboot changes it.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip() or None
    except (OSError, ValueError):
        return None


def pid_space() -> str | None:
    """Return what names the container that our pid counts in; None where the system doesn't tell."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - as text, no path
    except OSError:
        return None


def started_unix_s(pid: int) -> float | None:
    """Return when a process started in unix seconds; None where /proc can't tell."""
    ticks = started_ticks(pid)
    try:
        with open("/proc/stat", "rb") as stat:
            boot = next(int(line.split()[1]) for line in stat if line.startswith(b"btime"))
    except (OSError, ValueError, StopIteration):
        return None  # as above
    return None if ticks is None else boot + ticks / os.sysconf("SC_CLK_TCK")


def is_alive(pid: int, started: int | None) -> bool:
    """Tell whether the process still runs; `started` unmasks a pid that was given again."""
    now = started_ticks(pid)
    if now is not None:
        return started is None or now == started
    if os.path.isdir("/proc/self") and (started is not None or os.path.exists(f"/proc/{pid}")):  # noqa: PTH110, PTH112
        return False  # gone, or a zombie, of which os.kill would say that it lives
    if os.name == "nt":
        return True  # os.kill would end it; the health check decides
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it lives, but belongs to somebody else
    return True


def _launch_id(environ: Mapping[str, str]) -> str | None:
    elastic = environ.get("TORCHELASTIC_RUN_ID")
    if elastic is not None:
        restart = environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        if elastic != "none":
            return f"torchrun-{elastic}-{restart}"
        # torchrun calls every launch without --rdzv-id "none": its own start tells them apart.
        return f"torchrun-{started_ticks(os.getppid()) or os.getppid()}-{restart}"
    job = environ.get("SLURM_JOB_ID")
    return f"slurm-{job}-{environ.get('SLURM_STEP_ID', '0')}" if job else None
