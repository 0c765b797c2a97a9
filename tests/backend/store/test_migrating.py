"""Migrations: the newest is known, makes the models' tables, and a later file is left alone."""

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from lossboard_server.store.database import open_engine
from lossboard_server.store.migrating import HEAD, MIGRATIONS, NewerDatabase, migrate
from lossboard_server.store.tables import Base


def test_head_is_the_newest_migration_in_the_folder() -> None:
    assert max(path.stem for path in (MIGRATIONS / "versions").glob("[0-9]*.py")) == HEAD


def test_migrations_make_the_tables_of_the_models(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'm.db'}")
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'm.db'}")
    migrate(engine)
    migrate(engine)
    engine.dispose()


def test_database_of_a_later_release_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "later.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    connection.commit()
    connection.close()
    engine = open_engine(f"sqlite:///{path}")
    with pytest.raises(NewerDatabase, match="Upgrade Lossboard"):
        migrate(engine)
    engine.dispose()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("alembic_version",)]
    connection.close()


def test_every_key_of_a_runs_data_leads_with_the_run() -> None:
    keys = {table.name: next(iter(table.primary_key)).name for table in Base.metadata.sorted_tables}
    assert keys.pop("runs") == keys.pop("run_keys") == "key"
    assert keys.pop("login_codes") == "code_hash"
    assert set(keys.values()) == {"run"}


def test_every_column_tells_what_it_holds() -> None:
    silent = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if not column.comment and not column.primary_key
    }
    assert silent == set()
