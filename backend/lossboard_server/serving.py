"""Running the service in this process: port, token, services file, uvicorn, and an end at once."""

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
import time
import webbrowser
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import uvicorn
from fastapi import FastAPI
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from lossboard_server import __version__
from lossboard_server.api.login import make_login_path
from lossboard_server.api.page import plotly_script
from lossboard_server.app import create_app
from lossboard_server.connections import Connection
from lossboard_server.desktop import has_desktop
from lossboard_server.errors import LossboardError, StorageDamaged, StorageFull
from lossboard_server.leftovers import Leftovers
from lossboard_server.ports import take_port, url_of
from lossboard_server.services import (
    Service,
    keep_token,
    live_services,
    process_start,
    remove_service,
    write_service,
)
from lossboard_server.settings import Settings
from lossboard_server.store.failures import is_full
from lossboard_server.store.files.refusals import UnusableDatabase

# Streams are ended by us; a request that computes gets this long when the service stops.
STOP_TIMEOUT_S: Final = 1
STOP_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)

_log = logging.getLogger("lossboard_server")


class StartError(Exception):
    """The service can't start; the message says why and what to do.

    `exit_code` is the command's: 2 asks for another setting, 3 for a repair of the database.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until a signal comes; `say` gets each line for the person who started it.

    Raises: PortError, SettingError, StartError.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.umask(0o077)  # the database is for this user only, also in a folder that others may enter
    listener = take_port(settings.host, settings.port)
    with listener:
        settings = replace(settings, port=listener.getsockname()[1])
        try:
            if not settings.no_token and settings.token is None:
                settings = replace(settings, token=keep_token(settings.dir))
            app = create_app(settings)
            # Modules and routes stay for good: full collections walked them all, a third of the time
            # that 10,000 epochs took to draw.
            gc.freeze()
            server = _Server(app, settings, say)
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                runner.run(_run(app, server, listener))
        except UnusableDatabase as error:
            raise StartError(str(error), error.exit_code) from error
        except StorageDamaged as error:
            raise StartError(
                "The database is damaged and can't be served; it is left as it is. `lossboard doctor` says "
                "what can be saved, and --database names another.",
                exit_code=3,
            ) from error
        except LossboardError as error:
            raise StartError(str(error)) from error
        except OSError as error:
            place = error.filename or "a file"
            raise StartError(f"Can't use {place}: {error.strerror}. See --dir and --database.") from error
        except SQLAlchemyError as error:
            if is_full(error):
                raise StartError(
                    "The database's disk is full. Make room and start again; nothing that was stored is "
                    "lost. --database names a file on another disk."
                ) from error
            # PostgreSQL's driver tells what it thinks of it on a second line.
            cause = str(getattr(error, "orig", None) or error).partition("\n")[0].rstrip(".")
            raise StartError(f"The database can't be used: {cause}. --database names another.") from error


async def _run(app: FastAPI, server: "_Server", listener: socket.socket) -> None:
    # The lifespan is ours and not uvicorn's: uvicorn would turn "this database is newer"
    # into a logged traceback and an exit code of 3.
    async with app.router.lifespan_context(app):
        await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn, which tells others that it is there and lets go of its streams when it stops."""

    def __init__(self, app: FastAPI, settings: Settings, say: Callable[[str], None]) -> None:
        config = uvicorn.Config(
            app,
            http=Connection,
            loop="asyncio",  # and not uvloop wherever it happens to be installed: nothing was tried on it
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )
        super().__init__(config)
        self._app = app
        self._settings = settings
        self._say = say
        self._service = _describe(settings)
        self._leftovers = Leftovers(settings.dir)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then write the services file and say where we are."""
        await super().startup(sockets)
        live_services(self._settings.dir)  # removes what killed services left behind
        write_service(self._settings.dir, self._service)
        await asyncio.to_thread(self._announce)
        threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()
        self._leftovers.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take the services file away and end the event streams, which uvicorn would wait for."""
        remove_service(self._settings.dir, self._service)
        self._app.state.hub.close()
        await asyncio.to_thread(self._leftovers.close)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Let a signal end the service in good order, with exit code 0.

        uvicorn's own raises the signal again afterwards, which would kill us before the store
        is closed, and leaves SIGHUP, a closed terminal, to kill at once.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # nohup's ignored SIGHUP stays ignored.
        heeded = [
            sig for sig in STOP_SIGNALS if sig != signal.SIGINT and signal.getsignal(sig) != signal.SIG_IGN
        ]
        previous = {sig: signal.signal(sig, self.handle_exit) for sig in [signal.SIGINT, *heeded]}
        try:
            yield
        finally:
            for sig, handler in previous.items():
                signal.signal(sig, handler)

    def _announce(self) -> None:
        url = self._service.url
        self._say(f"Lossboard {__version__} serves on {url}")
        if self._settings.no_token:
            self._say("No token: everybody on this machine may read and write.")
            link: str | None = url
        else:
            link = self._mint_link()
            if link:
                self._say(f"Open it in a browser; this link works once: {link}")
            else:
                self._say("The disk is full; what is stored can be read. `lossboard open` makes a link.")
        self._say("Ctrl-C ends it.")
        if not self._settings.no_browser and has_desktop(os.environ):
            own = link if self._settings.no_token else self._mint_link()
            if own:
                webbrowser.open(own)

    def _mint_link(self) -> str | None:
        # A full disk takes no code, and is no reason to show nothing.
        try:
            return self._service.url + make_login_path(self._app.state.codes)
        except StorageFull:
            return None


def _describe(settings: Settings) -> Service:
    return Service(
        url=url_of(settings.host, settings.port),
        host=settings.host,
        port=settings.port,
        pid=os.getpid(),
        pid_started=process_start(os.getpid()),
        token=None if settings.no_token else settings.token,
        started_unix_s=time.time(),
        database=make_url(settings.database).render_as_string(hide_password=True),
        node=socket.gethostname(),
    )


def _warm_up() -> None:
    try:
        plotly_script()  # the first page shall not wait for the compression
    except Exception:
        _log.warning("Plotly.js could not be read ahead", exc_info=True)
