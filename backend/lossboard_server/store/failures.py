"""What a database's error means: who can act on it, and whether the same may work a moment later."""

from sqlalchemy.exc import DataError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from lossboard_server.errors import (
    Busy,
    InvalidInput,
    LossboardError,
    StorageDamaged,
    StorageFull,
    Unavailable,
)
from lossboard_server.store.files import sqlite_faults

# Of PostgreSQL, the SQLSTATEs; SQLite's errors have none.
_PASSING_STATES = ("40001", "40P01")  # serialization failure, deadlock: the same may work a moment later
# Connection lost; stopped or starting; too many connections; our session ended while it idled in a
# transaction; it only reads, since the server that writes has moved elsewhere.
_AWAY_STATES = ("08", "57P", "53300", "25P03", "25006")
_LOCK_STATE = "55P03"


def as_public(error: BaseException) -> BaseException:
    """Turn a database error that a caller can act on into one of ours; leave the rest."""
    if isinstance(error, LossboardError):
        return error
    if is_full(error):
        return StorageFull("The service's disk is full. Nothing was stored; make room and send it again.")
    if is_away(error) or is_passing(error):
        detail = (
            "The database does not answer just now. Send this again; what was stored is not stored twice."
        )
        return Unavailable(detail, headers={"Retry-After": "1"})
    if is_locked(error):
        detail = "Another replica is busy with this run. Nothing was stored; send it again."
        return Unavailable(detail, headers={"Retry-After": "1"})
    if sqlite_faults.is_damage(error):
        return StorageDamaged(
            "The database is damaged where this stands; the rest can be used. Nothing was stored. Whoever "
            "runs the service: end it, and `lossboard doctor` says what can be saved."
        )
    if sqlite_faults.is_held(error):
        detail = "Another program holds the database. Nothing was stored; send it again."
        return Busy(detail, headers={"Retry-After": "1"})
    if isinstance(error, DataError):  # SQLite takes any; what is known to be wrong was refused before
        return InvalidInput("A value of this request is outside of what the database holds.")
    return error


def is_full(error: BaseException) -> bool:
    """Tell whether a database error says that the disk is full."""
    said = str(getattr(error, "orig", error)).lower()
    return sqlite_faults.lacks_room(error) or "no space left" in said or "could not extend file" in said


def is_passing(error: BaseException) -> bool:
    """Tell whether an error undid its whole transaction and may not come again: the work can be done anew."""
    return _state(error) in _PASSING_STATES or is_away(error)


def is_locked(error: BaseException) -> bool:
    """Tell whether somebody else held a lock for longer than we wait."""
    return _state(error) == _LOCK_STATE


def is_away(error: BaseException) -> bool:
    """Tell whether the database could not be asked: it is down, starting, stopping or has no room for us."""
    if isinstance(error, NoConnectionLeft):
        return True
    original = getattr(error, "orig", error)
    if not hasattr(original, "sqlstate"):  # SQLite's have none
        return False
    state = original.sqlstate
    if state is None:  # of the connection itself, not of the server
        return bool(getattr(error, "connection_invalidated", False)) or _is_operational(original)
    return bool(state.startswith(_AWAY_STATES))


def _is_operational(error: BaseException) -> bool:
    import psycopg

    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def _state(error: BaseException) -> str | None:
    state: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state
