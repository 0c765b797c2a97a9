"""Whether a browser opened from here is seen by the person who typed the command."""

import sys
from collections.abc import Mapping


def has_desktop(environ: Mapping[str, str]) -> bool:
    """Tell whether there is a desktop, and a person at it: no browser opens from a script or over ssh."""
    if not sys.stdout.isatty() or environ.get("SSH_CONNECTION"):
        return False
    is_windowed = sys.platform in ("darwin", "win32")
    return is_windowed or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
