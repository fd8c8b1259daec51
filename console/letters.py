"""What trying a dead letter again means, by its kind: found out before anything is done, and said.

The agent keeps its events and evaluates them again. The consumer cannot apply late what it could not apply in its
place; what a letter has left behind is brought up to date (docs/decisions/0028).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
from psycopg import sql

from cdc_consumer import decode
from cdc_consumer.decode import Change
from cdc_consumer.entities import Chain, EntityPlan, path
from connectors import snapshots
from console import rereading
from console.context import ContextStore, parse_key
from console.rereading import Place
from wakestream import change_log, retrying, topics
from wakestream.config import Config
from wakestream.errors import EventError, RefusedError
from wakestream.ledger.models import DeadLetter

WAITING = "the guard passes it on to the consumer"
SEEN_AS = "as events with `snapshot: true`, on which only triggers with `on_snapshot: changed` fire"


@dataclasses.dataclass(frozen=True)
class Way:
    """What will happen to one letter, or why nothing can."""

    meaning: str = ""
    wish: dict[str, Any] | None = None
    """What the consumer is to do, as `wakestream.retrying` writes it."""
    closed: str | None = None
    """What there is to say where nothing is left to do."""
    failed: str | None = None
    """Why it fails now; it may be tried again once that has changed."""

    @property
    def outcome(self) -> str | None:
        """What the letter says from now on."""
        return self.failed or self.closed or (WAITING if self.wish is not None else None)


def way_of(letter: DeadLetter, config: Config | None) -> Way:
    """The way of one letter. Raises `RefusedError` for one that leaves nothing to try again."""
    if letter.stage == "agent":
        if letter.event is None:
            raise RefusedError(
                f"letter {letter.id} is about a message in {letter.topic} that the consumer has not written: nobody but"
                " the consumer may write there, so it tells nothing; discard it"
            )
        return Way(f"the agent evaluates `{letter.subject}` on the letter's event again")
    if letter.kind in ("forged mark", "expired relay token"):
        raise RefusedError(
            f"letter {letter.id} has left nothing behind: its transaction was told whole, only not as an action's of"
            " ours. Find out who wrote the mark, then discard the letter"
        )
    source = _source(letter, config)
    if config is None:
        raise RefusedError(f"letter {letter.id} is the consumer's: without the configuration it cannot be tried again")
    with ContextStore.opened(config, source) as store:
        try:
            return _Consumers(letter, config, store).way()
        except EventError as error:
            return Way(failed=f"{_place(letter)} was read again, and still says nothing that is understood: {error}")
        except RefusedError as error:
            return Way(failed=str(error))


def _source(letter: DeadLetter, config: Config | None) -> str:
    source = letter.topic.removesuffix(topics.changes(""))
    known = config.sources.get(source) if config is not None else None
    if config is not None and (source == letter.topic or known is None or known.adopt is not None):
        raise RefusedError(
            f"{letter.topic} is the topic of a connector that is not ours, so nothing can be read again through it:"
            f" have its owner send the row anew (any update of it does), then discard letter {letter.id}"
        )
    return source


def _place(letter: DeadLetter) -> Place:
    return Place(letter.topic, letter.partition, letter.offset)


class _Consumers:
    """One letter of the consumer, beside the store as it is now. What raises is a way that fails."""

    def __init__(self, letter: DeadLetter, config: Config, store: ContextStore) -> None:
        self._letter = letter
        self._config = config
        self._store = store

    def way(self) -> Way:
        letter = self._letter
        if letter.kind in ("document too large", "document not worked out"):
            return self._document()
        if letter.kind == "fan-out too large":
            return self._documents()
        if letter.kind == "event too large":
            return self._image()
        if letter.kind == "unreadable value":
            return self._values()
        if letter.kind == "unknown table":
            return self._whole([letter.subject])
        return self._message()

    def _document(self) -> Way:
        name = self._letter.subject.partition("/")[0]
        plan = self._store.entity(name)
        values = parse_key(plan.root, self._letter.subject.removeprefix(f"{name}/"))
        key, row = self._store.find(plan.root, values)
        if row is None:
            return _nothing_left(f"{self._letter.subject} is gone, which was told when its root was deleted")
        return self._told(plan, [key], f"{self._letter.subject} is told as it is now")

    def _image(self) -> Way:
        """A document is told as it is now; of a row the next change is."""
        name = self._letter.subject.partition("/")[0]
        if any(plan.entity.name == name for plan in self._store.plan.entities):
            return self._document()
        return _nothing_left(f"the store has {self._letter.subject} whole, and readers are told its next change")

    def _documents(self) -> Way:
        """Those that show a row which the transaction changed; all, where that cannot be known."""
        name, _, member = self._letter.subject.partition(".")
        plan = self._store.entity(name)
        chain = next((each for each in plan.watched_chains if path(each) == member), None)
        if chain is None:
            raise RefusedError(f"`{member}` is watched no more, so no document of `{name}` hangs on it")
        try:
            changes = rereading.transaction(
                self._config.kafka, _place(self._letter), self._letter.at, self._store.plan.keyless
            )
            why = "which documents its transaction touched cannot be told from its changes"
        except RefusedError as error:
            changes, why = None, str(error)
        keys = self._roots(plan, chain, changes)
        if keys is None:
            keys = self._all_roots(plan)
            return self._told(plan, keys, f"all {len(keys)} documents of `{name}` are told as they are now: {why}")
        if not keys:
            return _nothing_left(f"no document of `{name}` shows a row any more that the transaction changed")
        return self._told(plan, keys, f"the {len(keys)} documents of `{name}` that it touched are told as they are now")

    def _roots(self, plan: EntityPlan, chain: Chain, changes: Sequence[Change] | None) -> list[str] | None:
        """Roots of the changed rows; None where a row may have left a document that the log does not name."""
        table = plan.tables[chain[-1].table]
        own = [change for change in changes or () if change.table == table.label]
        by_key = set(chain[-1].references) == set(table.table.key)
        if not own or not by_key or any(change.op == "t" for change in own):
            return None
        listed = "[" + ",".join(sorted({change.key.decode() for change in own})) + "]"
        found = self._store.connection.execute(plan.roots_of(chain), (listed, None)).fetchall()
        return sorted(key for key, _ in found)

    def _all_roots(self, plan: EntityPlan) -> list[str]:
        query = sql.SQL("select {} from {} as m").format(plan.root.stored_key, plan.root.mirror)
        return [key for (key,) in self._store.connection.execute(query).fetchall()]

    def _told(self, plan: EntityPlan, keys: Sequence[str], meaning: str) -> Way:
        wish = retrying.documents(plan.entity.name, plan.root.table, keys)
        return Way(f"{meaning}, {SEEN_AS}; what readers knew before is in `missing`. {WAITING}", wish)

    def _values(self) -> Way:
        subject = self._letter.subject
        labels = [label for label in self._store.plan.tables if subject.startswith(f"{label}/") or subject == label]
        if not labels:
            raise RefusedError(f"the table of {subject} is not captured any more")
        label = max(labels, key=len)
        self._require_readable([label])
        meaning = f"{label} is read again by an incremental snapshot; rows that the store has otherwise come {SEEN_AS}"
        return Way(f"{meaning}. {WAITING}", retrying.tables([label], whole=False))

    def _whole(self, labels: Sequence[str]) -> Way:
        self._require_readable(labels)
        listed = ", ".join(labels)
        meaning = (
            f"what may be missing of {listed} is declared as a gap, which an incremental snapshot closes; rows that the"
            f" store has otherwise come {SEEN_AS}"
        )
        return Way(f"{meaning}. {WAITING}", retrying.tables(labels, whole=True))

    def _require_readable(self, labels: Sequence[str]) -> None:
        for label in labels:
            plan = self._store.plan.tables.get(label)
            if plan is None:
                raise RefusedError(f"{label} is not captured; name it in the file and `wake apply`, or discard this")
            if plan.keyless:
                raise RefusedError(f"{label} has no primary key, so that nothing of it can be read again")
        snapshots.require_readable(labels)

    def _message(self) -> Way:
        """Read in Kafka again: what it is about may be understood by now."""
        key, value = rereading.message(self._config.kafka, _place(self._letter), self._letter.digest)
        if key is not None and key.startswith(b'{"wake"'):
            return self._control(key, value)
        envelope = decode.decode(value)
        if envelope.op is None and envelope.status is None and envelope.aggregate_type is None:
            raise EventError("unknown message", detail="neither a change nor a border, notification or heartbeat")
        if envelope.op is None or envelope.op == "m":
            return _nothing_left("it is understood now and tells of no row; what hung on it has its gap")
        return self._whole([decode.change_of(envelope, key, self._store.plan.keyless).table])

    def _control(self, key: bytes, value: bytes | None) -> Way:
        try:
            kind, control = msgspec.json.decode(key)["wake"], change_log.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
            raise EventError("broken control record", detail=str(error)) from error
        if kind != "gap":
            raise RefusedError(f"a control record `{kind}` counts in its place only; who wrote it has to repeat it")
        every = [label for label, plan in sorted(self._store.plan.tables.items()) if not plan.keyless]
        return self._whole(every if control.tables is None else control.tables)


def _nothing_left(what: str) -> Way:
    return Way(f"{what}: nothing is left to do", closed=what)
