"""The service's settings as one table, which drives the options, the environment and the README."""

import ipaddress
import math
import re
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

DEFAULT_PORT: Final = 8765
DEFAULT_READERS: Final = 2  # so that one large answer does not keep all others; some 60 MB each
MAX_READERS: Final = 32
MIN_TOKEN_CHARACTERS: Final = 16  # a healthz proof lets a neighbour guess offline; 16 is beyond reach

_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?")
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})


class SettingError(ValueError):
    """A setting that can't be used; the message says which and what to give instead."""


class Setting(NamedTuple):
    """One row of the table; an empty `environment` or `option` means it can't be set there."""

    name: str
    default: str
    unit: str
    help: str
    environment: str
    option: str


SETTINGS: Final = (
    Setting("host", "127.0.0.1", "address", "where to listen", "LOSSBOARD_HOST", "--host"),
    Setting("port", str(DEFAULT_PORT), "TCP port", "0 takes a free one", "LOSSBOARD_PORT", "--port"),
    Setting(
        "database",
        "lossboard.db in dir",
        "SQLAlchemy URL",
        "where the records are kept: SQLite or PostgreSQL",
        "LOSSBOARD_DATABASE",
        "--database",
    ),
    Setting(
        "dir",
        "$XDG_STATE_HOME/lossboard",
        "folder",
        "holds the database, the token and the addresses of live services",
        "LOSSBOARD_DIR",
        "--dir",
    ),
    Setting(
        "token",
        "made at the first serve",
        f"text of {MIN_TOKEN_CHARACTERS} characters or more",
        "what a caller must show; no option, since other users see command lines",
        "LOSSBOARD_TOKEN",
        "",
    ),
    Setting(
        "no_token", "false", "switch", "let in everybody on this machine; only on loopback", "", "--no-token"
    ),
    Setting(
        "allowed_hosts",
        "none",
        "names, comma between",
        "further names by which browsers may call this service",
        "LOSSBOARD_ALLOWED_HOSTS",
        "--allowed-hosts",
    ),
    Setting(
        "no_browser", "false", "switch", "open no browser at start", "LOSSBOARD_NO_BROWSER", "--no-browser"
    ),
    Setting(
        "readers",
        str(DEFAULT_READERS),
        f"processes, at most {MAX_READERS}",
        "draw what pages ask for, beside the one that stores; 0: that one does",
        "LOSSBOARD_READERS",
        "--readers",
    ),
    Setting(
        "keep_days",
        "off",
        "days",
        "deletes for good each ended run whose last record is older; never one tagged keep",
        "LOSSBOARD_KEEP_DAYS",
        "--keep-days",
    ),
    Setting(
        "keep_gb",
        "off",
        "GB of rows",
        "deletes for good ended runs while the store holds more, archived ones first, then the oldest; never "
        "one tagged keep",
        "LOSSBOARD_KEEP_GB",
        "--keep-gb",
    ),
)


@dataclass(frozen=True)
class Settings:
    """What one service runs with, checked. `token` None stands for the token file until it is read."""

    host: str
    port: int
    database: str
    dir: Path
    token: str | None
    no_token: bool
    allowed_hosts: tuple[str, ...]
    no_browser: bool
    readers: int = DEFAULT_READERS
    keep_days: float | None = None
    keep_gb: float | None = None

    @classmethod
    def resolve(cls, args: Mapping[str, Any], environ: Mapping[str, str]) -> "Settings":
        """Take each setting from its option, else the environment, else its default.

        Raises: SettingError naming the setting.
        """
        given = {setting.name: _given(setting, args, environ) for setting in SETTINGS}
        folder = state_folder(given["dir"], environ)
        settings = cls(
            host=given["host"] or "127.0.0.1",
            port=_read_port(given["port"] or str(DEFAULT_PORT)),
            database=given["database"] or f"sqlite:///{folder / 'lossboard.db'}",
            dir=folder,
            token=given["token"],
            no_token=_read_switch("no_token", given["no_token"]),
            allowed_hosts=_read_hosts(given["allowed_hosts"]),
            no_browser=_read_switch("no_browser", given["no_browser"]),
            readers=_read_readers(given["readers"] or str(DEFAULT_READERS)),
            keep_days=_read_limit("keep_days", given["keep_days"], "1 day", least=1),
            keep_gb=_read_limit("keep_gb", given["keep_gb"], "0.001 GB", least=0.001),
        )
        if settings.no_token and not is_loopback(settings.host):
            raise SettingError(
                f"--no-token works on loopback only: on {settings.host} anybody in the network could read "
                "and write. Leave --no-token away, or listen on 127.0.0.1."
            )
        if settings.token is not None:
            check_token(settings.token)
        return settings


def add_options(parser: ArgumentParser, *names: str) -> None:
    """Add the options of the named settings, or of all, to a command."""
    for setting in SETTINGS:
        if not setting.option or (names and setting.name not in names):
            continue
        text = f"{setting.help} ({setting.unit}; default {setting.default})"
        if setting.unit == "switch":
            parser.add_argument(
                setting.option, dest=setting.name, action="store_const", const="true", help=setting.help
            )
        else:
            parser.add_argument(setting.option, dest=setting.name, metavar=setting.name.upper(), help=text)


def settings_table_markdown() -> str:
    """Write the table as the README shows it."""
    lines = [
        "| setting | option | environment | default | unit | what it does |",
        "|---|---|---|---|---|---|",
    ]
    for row in SETTINGS:
        option = f"`{row.option}`" if row.option else "–"
        environment = f"`{row.environment}`" if row.environment else "–"
        lines.append(f"| {row.name} | {option} | {environment} | {row.default} | {row.unit} | {row.help} |")
    return "\n".join(lines) + "\n"


def state_folder(given: str | None, environ: Mapping[str, str]) -> Path:
    """Return the folder given, else $LOSSBOARD_DIR, else lossboard in $XDG_STATE_HOME."""
    if named := given or environ.get("LOSSBOARD_DIR"):
        return Path(named).expanduser().absolute()
    state = environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "lossboard"


def check_token(token: str) -> str:
    """Return the token, or raise SettingError when it is too short or can't stand in a header."""
    if len(token) < MIN_TOKEN_CHARACTERS:
        raise SettingError(
            f"The token has {len(token)} characters; it needs {MIN_TOKEN_CHARACTERS} or more. "
            'Make one: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    if not all("!" <= character <= "~" for character in token):
        raise SettingError("The token may hold only printable ASCII without spaces.")
    return token


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(text: str) -> str | None:
    """Take the name out of `name`, `name:port`, `[v6]` or `[v6]:port`; None where it is none of them."""
    match = _HOST.fullmatch(text.lower())
    return (match[1] or match[2]) if match else None


def _given(setting: Setting, args: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    value = args.get(setting.name)
    if value is not None:
        return str(value)
    return environ.get(setting.environment) or None if setting.environment else None


def _read_port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise SettingError(f"port is {text[:20]!r}; it must be a number from 0 to 65535.")
    return int(text)


def _read_readers(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > MAX_READERS:
        raise SettingError(f"readers is {text[:20]!r}; it must be a number from 0 to {MAX_READERS}.")
    return int(text)


def _read_switch(name: str, text: str | None) -> bool:
    word = (text or "no").lower()
    if word not in _YES | _NO:
        raise SettingError(f"{name} is {word[:20]!r}; it must be 1 or 0.")
    return word in _YES


def _read_limit(name: str, text: str | None, told: str, least: float) -> float | None:
    """Read a limit beyond which is deleted; what could be a slip of the finger is refused."""
    if text is None or text.lower() in ("off", *_NO - {"0"}):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        raise SettingError(f"{name} is {text[:20]!r}; it must be a number of at least {told}, or off.")
    return value


def _read_hosts(text: str | None) -> tuple[str, ...]:
    names = []
    for part in (text or "").split(","):
        if not part.strip():
            continue
        name = host_name(part.strip())
        if name is None:
            raise SettingError(
                f"allowed_hosts holds {part.strip()[:60]!r}; give plain names such as gpu1.example.org, "
                "comma between, without a scheme and without *."
            )
        names.append(name)
    return tuple(names)
