"""The service as one application: store, hub, routes and doors, put together from settings."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from lossboard_server import __version__
from lossboard_server.api import (
    curves,
    docs,
    epochs,
    events,
    explain,
    export,
    health,
    importing,
    keeping,
    login,
    metrics,
    page,
    records,
    runs,
)
from lossboard_server.api.doors import install_doors
from lossboard_server.api.intake import Intake
from lossboard_server.api.problems import install_problem_handlers
from lossboard_server.api.readers import Readers
from lossboard_server.domain.retention import Retention
from lossboard_server.live.hub import Hub
from lossboard_server.live.relay import Relay
from lossboard_server.settings import Settings
from lossboard_server.store.database import is_shared
from lossboard_server.store.elsewhere import Elsewhere
from lossboard_server.store.files.ownership import database_file
from lossboard_server.store.keeping.keeper import Keeper
from lossboard_server.store.store import Store

ROUTERS = (
    records.router,  # asked most often, and routes are tried in this order: 0.1 ms a request
    health.router,
    metrics.router,
    login.router,
    runs.router,
    keeping.router,
    importing.router,
    epochs.router,
    explain.router,
    curves.router,
    events.router,
    export.router,
    docs.router,
    page.router,
)

# Threads that answer where no reader process does. They share one interpreter with the writer, and SQLite's
# driver gives it up and waits for it again at each row: so many would keep the writer. PostgreSQL's wait.
READING_THREADS = 1
READING_THREADS_SHARED = 4


def create_app(settings: Settings, clock: Callable[[], float] = time.time) -> FastAPI:
    """Make the application; the database is opened here and closed when the server stops.

    `clock` gives unix seconds; the runs' states are told by it.

    Raises: ValueError for settings without a token, store.files.refusals.UnusableDatabase.
    """
    hub = Hub()
    relay = Relay(hub.announce) if is_shared(settings.database) else None
    purpose = f"the service on {settings.host}:{settings.port}"
    store = Store(settings.database, relay.tell if relay else hub.announce, clock, purpose)
    readers = _make_readers(store, settings)
    keep_bytes = None if settings.keep_gb is None else settings.keep_gb * 1e9
    keeper = Keeper(store, Retention(settings.keep_days, keep_bytes))

    @asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        hub.attach(asyncio.get_running_loop())
        threads = READING_THREADS_SHARED if is_shared(settings.database) else READING_THREADS
        to_thread.current_default_thread_limiter().total_tokens = threads
        keeper.start()
        if relay is not None:
            relay.start(Elsewhere(store))
        yield
        hub.close()
        await readers.close()
        if relay is not None:
            await asyncio.to_thread(relay.close)
        await asyncio.to_thread(keeper.close)
        await asyncio.to_thread(store.close)

    app = FastAPI(title="Lossboard", version=__version__, lifespan=live, docs_url=None, redoc_url=None)
    app.state.store = store
    app.state.keeper = keeper
    app.state.readers = readers
    app.state.codes = store.codes
    app.state.hub = hub
    app.state.intake = Intake()
    app.state.settings = settings
    install_problem_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    install_doors(app, settings)
    return app


def _make_readers(store: Store, settings: Settings) -> Readers:
    """Let reader processes draw, but not from a database that only this process can see."""
    url = settings.database
    is_visible = is_shared(url) or database_file(url) is not None
    return Readers(store.reader, url, settings.readers if is_visible else 0)
