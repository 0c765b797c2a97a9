"""The client's settings: one table, and how argument, environment and default become a `Settings`."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from lossboard import wire

MODES: Final = ("online", "offline", "disabled")
MAX_TEXT: Final = 200  # characters of a project or a name, as the service takes them
MAX_TAG: Final = 100  # characters
MAX_TAGS: Final = 50
MAX_CONFIG_DEPTH: Final = 8  # deeper values are sent as text


class Setting(NamedTuple):
    """One row of the table: the argument, its environment variable, its default and what it does."""

    name: str
    variable: str | None
    default: str | None
    help: str


SETTINGS: Final = (
    Setting("project", "LOSSBOARD_PROJECT", "default", "what the run belongs to"),
    Setting("name", None, None, "the run's name on the page; made from its id where absent"),
    Setting("config", None, None, "hyperparameters, a mapping"),
    Setting("tags", None, None, "a list of words to find the run by"),
    Setting("run", "LOSSBOARD_RUN_ID", None, "the run's id; made where absent"),
    Setting("resume", None, None, "continue the run of this id as a new attempt"),
    Setting("start_epoch", None, None, "the epoch that a resumed attempt starts with"),
    Setting("url", "LOSSBOARD_URL", None, "the service's address; found where it runs on this machine"),
    Setting("token", "LOSSBOARD_TOKEN", None, "the service's token; found where it runs on this machine"),
    Setting("dir", "LOSSBOARD_DIR", None, "folder of the journal; $XDG_STATE_HOME/lossboard where absent"),
    Setting("mode", "LOSSBOARD_MODE", "online", "online, offline (journal only) or disabled"),
    Setting("strict", None, None, "raise what would otherwise be warned about and counted"),
)


class Settings(NamedTuple):
    """What a run was started with, checked."""

    project: str
    name: str | None
    config: dict[str, Any]
    tags: list[str]
    run: str | None
    resume: bool
    start_epoch: int | None
    url: str | None
    token: str | None
    dir: Path
    mode: str
    strict: bool


def read_settings(given: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """Make settings of the arguments that were given (not None), the environment and the defaults.

    Raises: ValueError or TypeError naming the argument, since a run that is started
    wrongly should say so at once.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        value = given.get(setting.name)
        if value is None and setting.variable:
            value = environ.get(setting.variable) or None
        values[setting.name] = setting.default if value is None else value
    if values["mode"] not in MODES:
        raise ValueError(f"mode is {values['mode']!r}; it must be one of {', '.join(MODES)}")
    return Settings(
        project=_text("project", values["project"]),
        name=None if values["name"] is None else _text("name", values["name"]),
        config=_config(values["config"]),
        tags=_tags(values["tags"]),
        run=None if values["run"] is None else wire.check_run_id(values["run"]),
        resume=_flag("resume", values["resume"]),
        start_epoch=wire.check_optional("start_epoch", values["start_epoch"], wire.MAX_SMALL),
        url=None if values["url"] is None else check_url(values["url"]),
        token=None if values["token"] is None else _token(values["token"]),
        dir=state_folder(values["dir"], environ),
        mode=values["mode"],
        strict=_flag("strict", values["strict"]),
    )


def state_folder(given: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path:
    """Return the folder that holds journals and the files of running services."""
    if given is None:
        given = environ.get("LOSSBOARD_DIR") or None
    if given is not None:
        return Path(given).expanduser().absolute()
    base = environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(base) / "lossboard"


def check_url(url: object) -> str:
    """Return an http or https address without its last slash, or raise ValueError."""
    if not isinstance(url, str):
        raise TypeError("url must be text such as http://127.0.0.1:8765")
    parts = urlsplit(url)
    try:
        port_is_good = parts.port != 0
    except ValueError:
        port_is_good = False
    good = parts.scheme in ("http", "https") and parts.hostname and port_is_good
    if not good or parts.username or parts.query or parts.fragment or not url.isascii() or " " in url:
        raise ValueError("url must be an address such as http://127.0.0.1:8765, without user or query")
    return url.rstrip("/")


def plain(value: object, depth: int = 0) -> Any:
    """Return what JSON can carry of a config value: strange objects become their text."""
    if isinstance(value, str):  # lone surrogates, as in the name of an odd file, can't travel
        return value.encode(errors="replace").decode()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= wire.MAX_POSITION else str(value)
    if isinstance(value, float):
        return wire.encode_number(float(value))
    if depth < MAX_CONFIG_DEPTH:
        if isinstance(value, Mapping):
            return {plain(str(key)): plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [plain(item, depth + 1) for item in value]
        if hasattr(value, "item") and getattr(value, "size", 0) == 1:  # a number of numpy's
            return plain(value.item(), MAX_CONFIG_DEPTH)
    return plain(str(value))


def _config(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) and hasattr(value, "__dict__"):
        value = vars(value)  # argparse's Namespace, a dataclass
    if not isinstance(value, Mapping):
        raise TypeError("config must be a mapping such as {'lr': 0.1}")
    from lossboard.environment import redact_values

    return redact_values({plain(str(key)): plain(item) for key, item in value.items()})


def _tags(value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError("tags must be a list of words")
    tags = [_text("tags", tag, MAX_TAG) for tag in value]
    if len(tags) > MAX_TAGS:
        raise ValueError(f"tags has {len(tags)} words; at most {MAX_TAGS}")
    return tags


def _text(name: str, value: object, most: int = MAX_TEXT) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {type(value).__name__}")
    if not 0 < len(value) <= most or not value.isprintable():
        raise ValueError(f"{name} must be 1 to {most} printable characters")
    return value


def _token(value: object) -> str:
    text = _text("token", value)
    if not text.isascii():  # it travels in an HTTP header
        raise ValueError("token must be ASCII")
    return text


def _flag(name: str, value: object) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False")
    return value
