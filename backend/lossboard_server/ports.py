"""Taking the port to listen on, and saying who holds it when it is taken."""

import errno
import json
import os
import socket
import urllib.request
from pathlib import Path
from typing import Any, Final

PROBE_TIMEOUT_S: Final = 1.0
PORTS_TRIED: Final = 20  # above the busy one, to name one that is free

# No proxy: a proxy of the environment can't know this machine's loopback.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PortError(OSError):
    """The address can't be listened on; the message says why and which option helps."""


def take_port(host: str, port: int) -> socket.socket:
    """Bind the address before anything else is started, so that a busy port costs nothing.

    Raises: PortError.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise PortError(f"--host {host} is no name or address that this machine knows.") from None
    # With the protocol given: asyncio sets TCP_NODELAY on what it accepts only where the
    # socket says TCP, and without it Nagle's algorithm costs 44 ms an answer.
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere the option would let two services share one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise PortError(_explain(error, host, port)) from None
    return listener


def url_of(host: str, port: int) -> str:
    """Return the address that reaches a service from this machine."""
    if host in ("0.0.0.0", "::", ""):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ask_health(url: str, nonce: str | None = None) -> dict[str, Any] | None:
    """Return what a Lossboard's /healthz says; None where no Lossboard answers."""
    address = f"{url}/healthz" + (f"?nonce={nonce}" if nonce else "")
    try:
        with direct.open(address, timeout=PROBE_TIMEOUT_S) as answer:
            said = json.loads(answer.read(4096))
    except (OSError, ValueError):
        return None  # nobody, or somebody who speaks otherwise
    return said if isinstance(said, dict) and said.get("name") == "lossboard" else None


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        url, other = url_of(host, port), f"lossboard serve --port {_free_port(host, port)}"
        if (health := ask_health(url)) is None:
            return f"Port {port} is taken{_holder(port)}. Use another: {other}"
        running = f"A Lossboard {health.get('version', '')} already serves on {url}"
        return f"{running}: `lossboard open` shows it. For a second one: {other} --dir ANOTHER_FOLDER"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} is for administrators only. Use one from 1024 on, such as --port 8765."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is not an address of this machine."
    return f"Can't listen on {host}:{port}: {error.strerror}."


def _free_port(host: str, busy: int) -> int:
    for port in range(busy + 1, min(busy + 1 + PORTS_TRIED, 65536)):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    return 0  # --port 0 takes any free one


def _holder(port: int) -> str:
    """Say which process listens on a port, in words; empty where the system doesn't tell."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        try:
            if any(str(entry.readlink()) in sockets for entry in (process / "fd").iterdir()):
                name = (process / "comm").read_text(encoding="utf-8").strip()
                return f" by {name} (pid {process.name})"
        except OSError:
            continue  # it ended, or is another user's
    return " by another user's program" if sockets else ""


def _listening_inodes(port: int) -> list[str]:
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="utf-8").splitlines()[1:]
        except OSError:
            continue  # no Linux
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A: listening
                found.append(fields[9])
    return found
