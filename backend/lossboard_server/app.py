"""The service as one application: store, hub, routes and doors, put together from settings."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

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
    login,
    page,
    records,
    runs,
)
from lossboard_server.api.doors import install_doors
from lossboard_server.api.problems import install_problem_handlers
from lossboard_server.live.hub import Hub
from lossboard_server.settings import Settings
from lossboard_server.store.store import Store

ROUTERS = (
    health.router,
    login.router,
    runs.router,
    records.router,
    epochs.router,
    explain.router,
    curves.router,
    events.router,
    export.router,
    docs.router,
    page.router,
)


def create_app(settings: Settings, clock: Callable[[], float] = time.time) -> FastAPI:
    """Make the application; the database is opened here and closed when the server stops.

    `clock` gives unix seconds; the runs' states are told by it.

    Raises: ValueError for settings without a token, store.migrating.NewerDatabase.
    """
    hub = Hub()
    store = Store(settings.database, hub.announce, clock)

    @asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        hub.attach(asyncio.get_running_loop())
        yield
        hub.close()
        await asyncio.to_thread(store.close)

    app = FastAPI(title="Lossboard", version=__version__, lifespan=live, docs_url=None, redoc_url=None)
    app.state.store = store
    app.state.codes = store.codes
    app.state.hub = hub
    app.state.settings = settings
    install_problem_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    install_doors(app, settings)
    return app
