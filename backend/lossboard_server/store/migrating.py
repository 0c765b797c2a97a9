"""Bringing a database to this release's tables, at every start."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

HEAD = "0002"
"""The newest migration; a test holds it to the folder."""

MIGRATIONS = Path(__file__).parent / "migrations"


class NewerDatabase(RuntimeError):
    """The database was written by a later release than this one."""


def migrate(engine: Engine) -> None:
    """Upgrade the database to HEAD; at HEAD this costs one query.

    Raises: NewerDatabase, the file untouched, if it is ahead of this release.
    """
    with engine.connect() as connection:
        found = _revision(connection)
    if found == HEAD:
        return
    if found is not None and not (MIGRATIONS / "versions" / f"{found}.py").exists():
        raise NewerDatabase(
            f"The database is at version {found}, and this Lossboard knows only up to {HEAD}. "
            "Upgrade Lossboard, or name another file with --database."
        )
    # Imported here: alembic takes 0.2 s, and a start at HEAD needs none of it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect().execution_options(writes=True) as connection, _without_foreign_keys(connection):
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


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


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
