"""The command `lossboard`: hands over to the service's command line, or says how to install it."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Final

# Which extra brings a module that is missing; any other belongs to the service.
EXTRAS: Final = {
    "torch": "demo",
    "sklearn": "demo",
    "numpy": "demo",
    "psycopg": "postgres",
    "pyarrow": "parquet",
}
_OURS: Final = frozenset({"lossboard", "lossboard_server"})


def main() -> int:
    """Run one command and return its exit code; 2 where an extra is missing."""
    if sys.argv[1:2] == ["sync"]:  # the one command that the bare client has
        from lossboard.sending.cli_sync import main as sync

        return sync(sys.argv[2:])
    # By name: the client may not depend on the service, which lies in the same wheel but
    # works only with what `lossboard[server]` installs.
    try:
        command: Callable[[], int] = import_module("lossboard_server.cli").main
        return command()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing in _OURS:
            raise  # not an extra: the installation itself is broken
        extra = EXTRAS.get(missing, "demo" if sys.argv[1:2] == ["demo"] else "server")
        print(
            f"This command needs {missing}, which is not installed here. Install it with:\n"
            f'    pip install "lossboard[{extra}]"',
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
