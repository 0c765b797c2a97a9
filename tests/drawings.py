"""What reader processes are asked to draw in tests: they import this, so its folder is on their path."""

import os
import time
from pathlib import Path
from typing import Any

from lossboard_server.errors import FieldError, InvalidInput, StorageDamaged
from lossboard_server.store.reader import Reader


def tell_process(_: Reader) -> int:
    """Return the id of the process that draws."""
    return os.getpid()


def draw_slowly(_: Reader, began: Path, seconds: float) -> int:
    """Say by a file that it has begun, and take a while."""
    began.touch()
    time.sleep(seconds)
    return os.getpid()


def draw_much(_: Reader, began: Path, size: int) -> bytes:
    """Say by a file that it has begun, and answer a moment later with so many bytes."""
    began.touch()
    time.sleep(0.2)
    return b"x" * size


def echo(_: Reader, value: Any) -> Any:
    """Return what was sent."""
    print("this must not stand between the answers")
    return value


def refuse(_: Reader) -> None:
    """Fail as a route does."""
    raise InvalidInput("series: is wrong.", [FieldError("series", "is wrong")], {"Retry-After": "3"})


def find_damage(_: Reader) -> None:
    """Fail as a database does."""
    raise StorageDamaged("The database is damaged.")


class TwoArguments(Exception):
    """An error that can be sent and not be read."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail_strangely(_: Reader) -> None:
    """Fail with an error that no pickle carries."""
    raise TwoArguments(1, 2)


def count_runs(reader: Reader) -> int:
    """Ask the database."""
    with reader.look() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM runs").scalar_one())
