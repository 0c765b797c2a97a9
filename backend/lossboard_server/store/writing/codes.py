"""One-time codes of login links; only their hashes are stored."""

import time

from sqlalchemy import Connection, delete, insert

from lossboard_server.domain.changes import Change
from lossboard_server.store.tables import LoginCodeRow
from lossboard_server.store.writing.writer import Writer


class Codes:
    """Keeps the codes of login links that nobody has used yet."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def put_code(self, code_hash: str, expires_unix_s: float) -> None:
        """Keep a code until it is used or has expired; blocks until it is committed."""

        def work(connection: Connection) -> tuple[None, list[Change]]:
            connection.execute(delete(LoginCodeRow).where(LoginCodeRow.expires_unix_s < time.time()))
            connection.execute(
                insert(LoginCodeRow).values(code_hash=code_hash, expires_unix_s=expires_unix_s)
            )
            return None, []

        self._writer.submit(work).result()

    def take_code(self, code_hash: str, now: float) -> bool:
        """Use a code up; tell whether it was there and still valid."""

        def work(connection: Connection) -> tuple[bool, list[Change]]:
            where = LoginCodeRow.code_hash == code_hash
            # In one statement: two replicas may be asked for the same code at once.
            taken = delete(LoginCodeRow).where(where).returning(LoginCodeRow.expires_unix_s)
            expires = connection.execute(taken).scalar()
            return expires is not None and expires >= now, []

        return self._writer.submit(work).result()
