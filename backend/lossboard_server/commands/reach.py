"""A service to ask: the one that runs, else one of this process's own for as long as a command takes."""

import argparse
import asyncio
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from lossboard_server.ports import take_port, url_of
from lossboard_server.remote import Remote, RemoteError, find_service
from lossboard_server.settings import Settings, add_options, state_folder

STOP_TIMEOUT_S: Final = 10.0


def add_reach_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which service or database is meant."""
    add_options(parser, "port", "dir", "database")


@contextmanager
def reach_service(options: argparse.Namespace, *, makes_database: bool = False) -> Iterator[Remote]:
    """Give the service that holds the runs.

    Where none runs, the database is opened here, under the same lock as a service's, and
    asked in the same way. A named port or address is never replaced.

    Raises: RemoteError where there is neither, or the database can't be used.
    """
    environ = dict(os.environ)
    settings = Settings.resolve({"dir": options.dir, "database": options.database}, environ)
    port = None if options.port is None else Settings.resolve({"port": options.port}, {}).port
    try:
        running = find_service(state_folder(options.dir, environ), environ, port, _named(options))
    except RemoteError:
        if port is not None or environ.get("LOSSBOARD_URL") or not _may_open(settings, makes_database):
            raise
    else:
        yield running
        return
    with _serve_here(settings) as own:
        yield own


def _named(options: argparse.Namespace) -> str | None:
    """Return the database that was asked for by name, as services tell theirs."""
    named = options.database or os.environ.get("LOSSBOARD_DATABASE")
    if not named:
        return None
    from sqlalchemy import make_url  # needs the extra `server`
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(named).render_as_string(hide_password=True)
    except ArgumentError as error:
        raise RemoteError(f"--database can't be read: {error}") from None


def _may_open(settings: Settings, makes_database: bool) -> bool:
    from lossboard_server.store.files.ownership import database_file

    file = database_file(settings.database)
    return makes_database or file is None or file.exists()


@contextmanager
def _serve_here(settings: Settings) -> Iterator[Remote]:
    import uvicorn
    from sqlalchemy.exc import SQLAlchemyError

    from lossboard_server.app import create_app
    from lossboard_server.errors import LossboardError
    from lossboard_server.store.files.refusals import UnusableDatabase

    os.umask(0o077)  # as `serve` does: the database is for this user only
    listener = take_port("127.0.0.1", 0)
    with listener:
        port = listener.getsockname()[1]
        token = secrets.token_urlsafe(32)
        # Retention is the service's: a command deletes what it was told to, and nothing else. It asks one
        # thing at a time, so reader processes would gain nothing.
        own = replace(settings, host="127.0.0.1", port=port, token=token, no_token=False)
        own = replace(own, keep_days=None, keep_gb=None, readers=0)
        try:
            app = create_app(own)
        except (UnusableDatabase, LossboardError, SQLAlchemyError, OSError) as error:
            raise RemoteError(str(getattr(error, "orig", None) or error)) from error
        config = uvicorn.Config(
            app, lifespan="on", ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        listener.listen()  # who asks before the server accepts waits for it
        thread = threading.Thread(target=_run, args=(server, listener), name="own-service", daemon=True)
        thread.start()
        try:
            yield Remote(url_of("127.0.0.1", port), token)
        finally:
            server.should_exit = True
            thread.join(STOP_TIMEOUT_S)


def _run(server: Any, listener: Any) -> None:
    asyncio.run(server.serve(sockets=[listener]))
