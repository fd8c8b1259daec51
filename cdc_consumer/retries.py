"""Dead letters that a person wants tried again, each at the place of a control record in the log.

What could not be applied is never applied late, beneath what came after it. A retry brings up to date what the letter
has left behind: tables are read again by a snapshot, documents are told as they are now. Which of the two, and for
which keys, stands in the ledger with the letter; the record only says where in the log it happens. What is done and
that it is done are committed together, so that a record that comes twice does nothing the second time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cdc_consumer import roots
from cdc_consumer.collect import Piece
from cdc_consumer.entities import EntityPlan
from cdc_consumer.entity_changes import Comparison
from cdc_consumer.entity_documents import Asked
from cdc_consumer.mirrors import Mirrors
from cdc_consumer.plan import Plan
from cdc_consumer.render import Draft, Renderer
from cdc_consumer.store import Store
from wakestream import retrying
from wakestream.change_log import DOCUMENTS_A_RECORD
from wakestream.ledger import Connection

OpenGap = Callable[[Piece, list[str]], list[Draft]]


class Retries:
    """Does what is wanted of the letters of one source, inside the cycle's transaction."""

    def __init__(
        self,
        connection: Connection,
        plan: Plan,
        store: Store,
        mirrors: Mirrors,
        renderer: Renderer,
        topic: str,
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._store = store
        self._mirrors = mirrors
        self._render = renderer
        self._topic = topic
        self._comparison = Comparison(connection, store, topic)

    def drafts(self, piece: Piece, open_gap: OpenGap) -> list[Draft]:
        """What this record's letter makes; nothing where nobody wants it tried, or no more."""
        number = int(piece.body["letter"])
        row = self._connection.execute(
            "select retrying - 'keys', told, jsonb_array_length(retrying -> 'keys') from wake.dead_letter"
            " where id = %s and stage = 'consumer' and topic = %s and state = 'retried' and retrying is not null"
            " for update",
            (number, self._topic),
        ).fetchone()
        if row is None:
            return []
        wish, told, count = row
        if count is None:
            return self._read_again(piece, number, wish, open_gap)
        return self._tell(piece, number, wish, int(told), int(count))

    def _read_again(self, piece: Piece, number: int, wish: dict[str, Any], open_gap: OpenGap) -> list[Draft]:
        """A gap says what may be missing until a snapshot has read the tables; values alone need none."""
        tables = [label for label in wish["tables"] if label in self._plan.tables]
        if not tables:
            self._end(number, f"{', '.join(wish['tables'])} is captured no more", failed=True)
            return []
        listed, why = ", ".join(tables), f"dead letter {number} is tried again"
        drafts: list[Draft] = []
        if wish["whole"]:
            piece.reason = why
            drafts = open_gap(piece, tables)
        for label in tables:
            self._mirrors.ask_again(label, why, whole=wish["whole"])
        gap = ", and a gap is open until it has" if wish["whole"] else ""
        self._end(number, f"a snapshot reads {listed} again{gap}")
        return drafts

    def _tell(self, piece: Piece, number: int, wish: dict[str, Any], told: int, count: int) -> list[Draft]:
        """The next of the documents."""
        plan = next((each for each in self._plan.entities if each.entity.name == wish["entity"]), None)
        if plan is None or retrying.key_types(plan.root.table) != wish["key"]:
            self._end(number, f"the key of entity `{wish['entity']}` is another now, or it is gone", failed=True)
            return []
        keys = self._keys(number, told)
        part = roots.by_subject(plan, ((key, ()) for key in keys))
        documents = Asked(plan, self._connection, self._store, part).take()
        changes = self._comparison.present(plan, piece, part, documents)
        told += len(keys)
        self._note(plan, number, told, count, gone=len(part) - len(documents), untold=len(documents) - len(changes))
        render = partial(self._render.entity, self._render.at(piece))
        return [partial(render, change, "null") for change in changes]

    def _keys(self, number: int, told: int) -> list[str]:
        rows = self._connection.execute(
            "select x.key from wake.dead_letter l, jsonb_array_elements_text(l.retrying -> 'keys') with ordinality"
            " as x(key, place) where l.id = %s and x.place > %s order by x.place limit %s",
            (number, told, DOCUMENTS_A_RECORD),
        ).fetchall()
        return [key for (key,) in rows]

    def _note(self, plan: EntityPlan, number: int, told: int, count: int, *, gone: int, untold: int) -> None:
        """How far it is; those that cannot be told have letters of their own."""
        name = plan.entity.name
        if told < count:
            self._connection.execute(
                "update wake.dead_letter set told = %s, outcome = %s where id = %s",
                (told, f"{told} of {count} documents of `{name}` are told anew", number),
            )
        elif count == 1 and gone:
            self._end(number, "the document is gone, which was told when its root was deleted")
        elif count == 1 and untold:
            self._end(number, "the document cannot be told still: a letter of its own says why")
        else:
            self._end(number, f"told anew: {count} documents of `{name}`" if count > 1 else "the document is told anew")

    def _end(self, number: int, outcome: str, *, failed: bool = False) -> None:
        """It is dealt with, or open again."""
        self._connection.execute(
            "update wake.dead_letter set state = %s, retrying = null, told = 0, outcome = %s where id = %s",
            ("open" if failed else "retried", outcome, number),
        )
