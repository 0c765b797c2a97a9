"""What all tables share: named constraints, types, and the tie to their run."""

from typing import Any

from sqlalchemy import JSON, Double, ForeignKeyConstraint, MetaData
from sqlalchemy.orm import DeclarativeBase

WithoutRowid = {"sqlite_with_rowid": False}


class Base(DeclarativeBase):
    """The tables' common metadata: every constraint has a name."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's own idiom)
        float: Double(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
        list[Any]: JSON(),
    }


def in_run(table: str) -> ForeignKeyConstraint:
    """Tie a table's rows to their run."""
    return ForeignKeyConstraint(["run"], ["runs.key"], name=f"fk_{table}_run_runs", ondelete="CASCADE")


def in_run_on_sqlite(table: str) -> ForeignKeyConstraint:
    """Tie a table's rows to their run where that is cheap: PostgreSQL looks the run up for each row.

    There it halved the records stored a second. The run is locked while its records are stored, and
    its row goes after theirs.
    """
    tie = in_run(table)
    tie.ddl_if(dialect="sqlite")
    return tie
