"""Runs as a list and one by one, as they are answered."""

from lossboard_server.api.views.encoding import write_json
from lossboard_server.store.listing import RunFilter, count_archived, list_runs, show_run
from lossboard_server.store.reader import Reader


def tell_runs(reader: Reader, wanted: RunFilter, now: float) -> bytes:
    """List a page of runs, with how many there are and how many of all are archived.

    Units: now in unix seconds.
    """
    with reader.look() as connection:
        runs, total = list_runs(connection, wanted, now, reader.listed, reader.condition.tell)
        answer = {"runs": runs, "total": total, "archived": count_archived(connection)}
    return write_json(answer)


def tell_run(reader: Reader, run: str, now: float) -> bytes:
    """Show one run. Units: now in unix seconds. Raises: RunNotFound."""
    with reader.look() as connection:
        return write_json(show_run(connection, run, now))
