"""Bringing a database to this release's tables, at every start."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from lossboard_server.store.database import lock_schema
from lossboard_server.store.files.preflight import check_version
from lossboard_server.store.files.refusals import NewerDatabase

__all__ = ["HEAD", "MIGRATIONS", "NewerDatabase", "known_versions", "migrate"]

HEAD = "0002"
"""The newest migration; a test holds it to the folder."""

MIGRATIONS = Path(__file__).parent / "migrations"


def known_versions() -> frozenset[str]:
    """Name the migrations that this release has."""
    return frozenset(path.stem for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def migrate(engine: Engine) -> None:
    """Upgrade the database to HEAD; at HEAD this costs one query.

    Raises: NewerDatabase, the file untouched, if it is ahead of this release.
    """
    with engine.connect() as connection:
        found = _revision(connection)
    if found == HEAD:
        return
    if found is not None:
        check_version(found, known_versions())
    # Imported here: alembic takes 0.2 s, and a start at HEAD needs none of it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect().execution_options(writes=True) as connection, _without_foreign_keys(connection):
        lock_schema(connection)  # replicas start together
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if found == "0001":
            _make_epoch_tier(connection)


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Run a transaction in which SQLite may make a table anew: dropping the old one takes no rows along.

    Source: the procedure of SQLite's ALTER TABLE documentation, section 7.
    """
    if connection.dialect.name != "sqlite":
        with connection.begin():
            yield
        return
    driver = connection.connection.driver_connection  # the switch does nothing inside a transaction
    assert driver is not None
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        with connection.begin():
            yield
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
            if broken is not None:
                raise RuntimeError(f"The migration would leave rows of {broken[0]} without their run.")
    finally:
        driver.execute("PRAGMA foreign_keys = ON")


def _make_epoch_tier(connection: Connection) -> None:
    """Give every run of the first release its buckets over epochs, in the upgrade's transaction."""
    from lossboard_server.store.summaries.epoch_tier import rebuild_epoch_tier

    for run in connection.execute(text("SELECT key FROM runs")).scalars().all():
        rebuild_epoch_tier(connection, run)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
