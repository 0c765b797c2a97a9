"""What a person says of a run: its name, notes, tags and colour, and whether it is archived."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, select, update

from lossboard_server.domain.changes import Change
from lossboard_server.store.tables import RunRow
from lossboard_server.store.writing.register import find_run
from lossboard_server.store.writing.trail import redraw

EDITABLE: Final = ("name", "notes", "tags", "colour")


def edit_run(
    connection: Connection, run_id: str, told: Mapping[str, Any], now: float
) -> tuple[None, list[Change]]:
    """Set what is told of EDITABLE, and with `archived` put a run away or take it back.

    What a person set stays: its client's next PUT no longer changes it.
    Raises: RunNotFound.
    """
    run = find_run(connection, run_id)
    values = {name: told[name] for name in EDITABLE if name in told}
    if values:
        values["edited"] = sorted({*run.edited, *values})
    if told.get("archived") is not None:
        archived = connection.execute(select(RunRow.archived_unix_s).where(RunRow.key == run.key)).scalar()
        if told["archived"] != (archived is not None):
            values["archived_unix_s"] = now if told["archived"] else None
    if not values:
        return None, []
    version = run.version + 1
    if values.get("name", run.name) != run.name:
        redraw(connection, run.key)
    connection.execute(update(RunRow).where(RunRow.key == run.key).values(version=version, **values))
    return None, [Change(run_id, version=version, is_about_run=True, key=run.key)]
