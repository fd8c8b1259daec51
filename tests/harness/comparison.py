"""The context topic held against the oracle: the same transactions, the same events, the same values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import cast

from tests.harness.context import ContextLog, JsonObject, Raw
from tests.harness.oracle import Committed, Expected
from wakestream.events import Cause

_OPS = {
    "row.inserted": "insert",
    "row.updated": "update",
    "row.deleted": "delete",
    "table.truncated": "truncate",
}
_CLOCK_STEP = 0.002  # seconds; events have milliseconds


def verify_rows(context: ContextLog, expected: list[Committed], source: str) -> None:
    """Nothing missing, nothing more, everything in the order of the commits."""
    wanted = [each for each in expected if each.events]
    found = list(transactions(context, *_OPS))
    assert [events[0].position.tx for events in found] == [each.xid for each in wanted]
    commits = [events[0].position.commit or 0 for events in found]
    assert commits == sorted(set(commits))
    for events, transaction in zip(found, wanted, strict=True):
        _verify_transaction(events, transaction, source)


def verify_documents(context: ContextLog, expected: list[Committed], source: str) -> None:
    """One `entity.changed` for each document that a transaction changed, with the whole of it before and after."""
    wanted = [each for each in expected if each.documents]
    found = list(transactions(context, "entity.changed"))
    assert [events[0].position.tx for events in found] == [each.xid for each in wanted]
    for events, transaction in zip(found, wanted, strict=True):
        assert [each.event["subject"] for each in events] == list(transaction.documents)
        for each, images in zip(events, transaction.documents.values(), strict=True):
            for name, image in zip(("before", "after"), images, strict=True):
                found = each.data[name]
                assert found == image, f"{name} of {each.event['id']}: {_difference(found, image)}"
            assert each.event["id"] == f"{source}/1/{each.position.commit}/{each.event['subject']}"


def transactions(context: ContextLog, *types: str) -> Iterator[list[Raw]]:
    """The events of these types that transactions made, a list for each transaction that made any."""
    for piece in context.pieces():
        events = [each for each in piece if each.type in types and each.position.commit is not None]
        if events:
            yield events


def _verify_transaction(events: list[Raw], transaction: Committed, source: str) -> None:
    found, wanted = [_summary(each) for each in events], [(e.type, e.subject, e.order) for e in transaction.events]
    assert found == wanted, f"transaction {transaction.xid} made\n{found}\ninstead of\n{wanted}"
    cause = None if transaction.cause is None else _as_json(transaction.cause)
    for raw, event in zip(events, transaction.events, strict=True):
        _verify_event(raw, event, source)
        assert raw.data["cause"] == cause
        at = datetime.fromisoformat(raw.event["time"]).timestamp()
        assert transaction.began - _CLOCK_STEP <= at <= transaction.ended + _CLOCK_STEP


def _verify_event(raw: Raw, wanted: Expected, source: str) -> None:
    event, data = raw.event, raw.data
    table = wanted.subject.partition("/")[0]
    where = f"{wanted.type} of {wanted.subject} in transaction {raw.position.tx}"
    for name, value in wanted.data.items():
        assert data[name] == value, f"{name} of {where}: {_difference(data[name], value)}"
    assert data["op"] == _OPS[wanted.type]
    assert (data["snapshot"], data["untrusted"]) == (False, [])
    assert event["specversion"] == "1.0"
    assert event["source"] == f"wake://{source}/{table}"
    assert event["id"] == f"{source}/1/{raw.position.commit}.{wanted.order}"


def _difference(found: object, wanted: object) -> str:
    """Only what differs, since images are long."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        old, new = cast("JsonObject", found), cast("JsonObject", wanted)
        names = [name for name in {**old, **new} if old.get(name, "absent") != new.get(name, "absent")]
        return ", ".join(f"{name}: {_difference(old.get(name, 'absent'), new.get(name, 'absent'))}" for name in names)
    return f"{_short(cast('object', found))}, not {_short(wanted)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 120 else f"{text[:100]}… ({len(text)} characters)"


def _summary(raw: Raw) -> tuple[str, str, int | None]:
    return raw.type, raw.event["subject"], raw.position.order


def _as_json(cause: Cause) -> JsonObject:
    return {
        "action": cause.action,
        "run": cause.run,
        "trigger": cause.trigger,
        "keys": list(cause.keys),
        "depth": cause.depth,
    }
