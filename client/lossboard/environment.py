"""What a run ran in: Python, frameworks, host, git commit, ranks, the command line without secrets."""

import os
import platform
import re
import socket
import sys
from pathlib import Path
from typing import Any, Final

FRAMEWORKS: Final = (
    "accelerate fastai ignite jax keras lightning numpy pytorch_lightning sklearn "
    "tensorflow tf_keras torch torchmetrics torchvision transformers ultralytics"
).split()
HIDDEN: Final = "…"
MAX_COMMAND: Final = 2000  # characters
MAX_GIT_PARENTS: Final = 40  # folders looked at upwards for .git

_SECRET_OPTION: Final = re.compile(r"token|key|secret|passw|credential", re.IGNORECASE)
_SECRET_WORDS: Final = frozenset("token key apikey secret password passwd credential credentials".split())
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_USER_IN_URL: Final = re.compile(r"(?<=://)[^/\s@]+@")
_COMMIT: Final = re.compile(r"[0-9a-f]{40,64}")


def describe_environment(rank: int = 0, world_size: int = 1) -> dict[str, Any]:
    """Collect what goes with the run; only frameworks that the script has imported are named."""
    return {
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "frameworks": _versions(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "git_commit": find_commit(),
        "rank": rank,
        "world_size": world_size,
        "command": redact_command(sys.argv),
    }


def find_commit(folder: Path | None = None) -> str | None:
    """Return the commit checked out around `folder`, else where we are; git itself is not run."""
    try:
        folder = folder or Path.cwd()  # which may be gone: a job's scratch folder, cleaned
        for parent in [folder, *folder.parents][:MAX_GIT_PARENTS]:
            if (parent / ".git").exists():
                return _read_head(parent / ".git")
    except (OSError, UnicodeDecodeError):
        return None  # an unreadable repository costs the run a detail, nothing else
    return None


def redact_command(words: list[str]) -> str:
    """Join a command line, the values of options that name a secret hidden."""
    shown: list[str] = []
    hide_next = False
    for word in words:
        option, equals, _ = word.partition("=")
        is_option = word.startswith("-") or bool(equals)
        if hide_next and not word.startswith("-"):
            shown.append(HIDDEN)
        elif is_option and equals and _SECRET_OPTION.search(option):
            shown.append(f"{option}={HIDDEN}")
        else:
            shown.append(_USER_IN_URL.sub(f"{HIDDEN}@", word))
        hide_next = word.startswith("-") and not equals and bool(_SECRET_OPTION.search(word))
    # Arguments that are no UTF-8 come as lone surrogates, which the wire can't carry.
    return " ".join(shown)[:MAX_COMMAND].encode(errors="replace").decode()


def redact_values(config: dict[str, Any]) -> dict[str, Any]:
    """Hide text under keys that name a secret; numbers stay, since `d_key: 64` is none."""
    return {key: _redact(key, value) for key, value in config.items()}


def _redact(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return redact_values(value)
    if isinstance(value, list):
        return [_redact(key, item) for item in value]
    if not isinstance(value, str):
        return value
    words = {word.lower() for word in _WORD.findall(key)}
    return HIDDEN if words & _SECRET_WORDS else _USER_IN_URL.sub(f"{HIDDEN}@", value)


def _versions() -> dict[str, str]:
    found = {}
    for name in FRAMEWORKS:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            found[name] = str(version)[:40]
    backend = getattr(getattr(sys.modules.get("keras"), "config", None), "backend", None)
    if callable(backend):
        found["keras_backend"] = str(backend())[:40]
    return found


def _read_head(git: Path) -> str | None:
    if git.is_file():  # a worktree or a submodule names its folder
        git = (git.parent / git.read_text().removeprefix("gitdir:").strip()).resolve()
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return _commit(head)
    ref = head.removeprefix("ref:").strip()
    common = git / "commondir"
    shared = (git / common.read_text().strip()).resolve() if common.exists() else git
    for base in (git, shared):
        if (base / ref).is_file():
            return _commit((base / ref).read_text().strip())
    packed = shared / "packed-refs"
    for line in packed.read_text().splitlines() if packed.exists() else ():
        commit, _, name = line.partition(" ")
        if name == ref:
            return _commit(commit)
    return None


def _commit(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None
