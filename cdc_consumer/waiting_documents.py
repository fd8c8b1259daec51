"""Documents before a piece, in a temporary table of the ledger, where they are too many for memory."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cdc_consumer.entity_documents import Shown
from wakestream.ledger import Connection

Documents = Mapping[str, Shown]
"""By subject."""


class WaitingDocuments:
    """The table ends with the transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._used = False

    def clear(self) -> None:
        """Forget those of the piece before."""
        self._used = False

    def keep(self, entity: str, documents: Documents) -> None:
        """Put documents aside."""
        if not self._used:
            # There is one already where another piece of the same transaction had too many.
            self._connection.execute("drop table if exists pg_temp.wake_before")
            self._connection.execute(
                "create temp table wake_before"
                " (entity text, subject text, document text, missing text[], error text, primary key (entity, subject))"
                " on commit drop"
            )
            self._used = True
        rows = [
            {"subject": subject, "document": shown.text, "missing": list(shown.missing), "error": shown.error}
            for subject, shown in documents.items()
        ]
        self._connection.execute(
            "insert into pg_temp.wake_before select %s, x.subject, x.document,"
            " array(select json_array_elements_text(x.missing)), x.error"
            " from json_to_recordset(%s::json) as x(subject text, document text, missing json, error text)",
            (entity, msgspec.json.encode(rows).decode()),
        )

    def take(self, entity: str, subjects: list[str]) -> Documents:
        """Documents that were put aside."""
        rows = self._connection.execute(
            "select subject, document, missing, error from pg_temp.wake_before where entity = %s and subject = any(%s)",
            (entity, subjects),
        ).fetchall()
        return {subject: Shown(document, tuple(missing), error) for subject, document, missing, error in rows}
