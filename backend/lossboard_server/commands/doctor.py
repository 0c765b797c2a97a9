"""`lossboard doctor`: whether a database is whole, and its summaries made anew from its records."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError

from lossboard_server.commands.progress import make_bar
from lossboard_server.settings import SettingError, Settings, add_options
from lossboard_server.store.checks.checking import (
    RESTORE,
    Finding,
    check_file,
    check_revision,
    check_run,
    list_runs,
    rebuild_run,
)
from lossboard_server.store.database import for_reading, for_writing, open_engine
from lossboard_server.store.files.ownership import database_file, own
from lossboard_server.store.files.preflight import REPAIR, inspect_file
from lossboard_server.store.files.refusals import DamagedDatabase, DatabaseInUse, UnusableDatabase
from lossboard_server.store.migrating import known_versions

SHOWN = 50  # findings told one by one


def main(arguments: Sequence[str]) -> int:
    """Check a database, or make its summaries anew: 0 for a whole one, 1 for one with findings.

    What can't be opened ends with its own code, 2 or 3.
    """
    options = _make_parser().parse_args(arguments)
    url = Settings.resolve({"database": options.database, "dir": options.dir}, os.environ).database
    try:
        with _opened(url, is_changing=options.rebuild) as engine:
            return _rebuild(engine) if options.rebuild else _check(engine)
    except DamagedDatabase as error:  # whose advice is to ask the doctor
        print(f"lossboard: {error.args[0].partition(REPAIR)[0]}{RESTORE}", file=sys.stderr)
        return error.exit_code
    except UnusableDatabase as error:
        print(f"lossboard: {error}", file=sys.stderr)
        return error.exit_code
    except ArgumentError:
        raise SettingError("database is no URL; sqlite:////path/to/lossboard.db is one.") from None
    except SQLAlchemyError as error:
        print(f"lossboard: the database does not answer: {_explain(error)}. {RESTORE}", file=sys.stderr)
        return 1


@contextmanager
def _opened(url: str, *, is_changing: bool) -> Iterator[Engine]:
    """Open a database that is there, for this process alone where the command is to change it.

    Raises: UnusableDatabase.
    """
    file = database_file(url)
    if file is not None and not file.exists():
        raise UnusableDatabase(f"There is no database at {file}. --database names another.")
    with ExitStack() as stack:
        try:
            stack.enter_context(own(file, "lossboard doctor"))
        except DatabaseInUse as error:
            if is_changing:
                raise
            print(f"{error.args[0].partition(',')[0]}, and is read beside that.")
        if file is not None:
            inspect_file(file, known_versions())
        engine = open_engine(url)
        stack.callback(engine.dispose)
        with engine.connect() as connection:
            check_revision(connection)
        yield engine


def _check(engine: Engine) -> int:
    findings = 0
    engine = for_reading(engine)
    with engine.connect() as connection:
        try:
            for finding in check_file(connection):
                findings += _tell(finding, findings)
        except DatabaseError as error:  # so damaged that the check itself does not come to its end
            findings += _tell(Finding(f"SQLite says: {_explain(error)}", RESTORE), findings)
        runs = list_runs(connection)
    with make_bar("checked", sum(run.records for run in runs)) as bar:
        for run in runs:
            try:
                # Each run in a transaction of its own: one moment of it, beside whatever is written.
                with engine.connect() as connection, connection.begin():
                    for finding in check_run(connection, run.key, bar.update):
                        findings += _tell(finding, findings)
            except DatabaseError as error:
                findings += _tell(Finding(f"{run.id}: can't be read: {_explain(error)}", RESTORE), findings)
    if findings > SHOWN:
        print(f"and {findings - SHOWN:,} more")
    records = sum(run.records for run in runs)
    said = "whole" if not findings else f"{findings:,} {'finding' if findings == 1 else 'findings'}"
    print(f"{_name(engine)}: {_count(len(runs))}, {records:,} records: {said}.")
    return 1 if findings else 0


def _rebuild(engine: Engine) -> int:
    writing = for_writing(engine)
    with engine.connect() as connection:
        runs = list_runs(connection)
    failed = 0
    with make_bar("read", sum(run.records for run in runs)) as bar:
        for run in runs:  # each in a transaction of its own: broken off, it is started again without harm
            try:
                with writing.connect() as connection, connection.begin():
                    rebuild_run(connection, run.key, bar.update)
            except DatabaseError as error:
                failed += _tell(Finding(f"{run.id}: can't be rebuilt: {_explain(error)}", RESTORE), failed)
    print(f"{_name(engine)}: made the summaries of {_count(len(runs) - failed)} anew.")
    return 1 if failed else 0


def _tell(finding: Finding, before: int) -> int:
    if before < SHOWN:
        print(f"{finding.what}. {finding.remedy}")
    return 1


def _count(runs: int) -> str:
    return f"{runs:,} {'run' if runs == 1 else 'runs'}"


def _name(engine: Engine) -> str:
    return str(database_file(str(engine.url)) or make_url(engine.url).render_as_string(hide_password=True))


def _explain(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lossboard doctor",
        description="Check a database: its file, its counts, and each summary against the records.",
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="make all summaries anew from the records; no service may be running on the database",
    )
    add_options(parser, "database", "dir")
    return parser
