"""Rows that a snapshot shows, beside what the mirror has of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from cdc_consumer.decode import Change
from cdc_consumer.store import Store, canonical, json_array
from cdc_consumer.tables import TablePlan
from cdc_consumer.unknown import WHOLE_ROW
from cdc_consumer.unreadable import UNREADABLE
from wakestream.ledger import Connection

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Shown(NamedTuple):
    """One such row."""

    key: str
    image: bytes | None
    """Its image with masks applied; None where the mirror surely holds the row as it is."""
    differs: bool
    """Whether it is another row than the mirror's in what is known of that."""
    lacks: frozenset[str] = frozenset()
    """The columns that are not known of the mirror's row."""


def compare(connection: Connection, store: Store, plan: TablePlan, changes: Sequence[Change]) -> list[Shown]:
    """What each of these rows of one table tells, in order."""
    if not store.careful:
        return _compare(connection, store, plan, changes)
    found: list[Shown] = []
    for change in changes:
        try:
            with connection.transaction():
                found += _compare(connection, store, plan, [change])
        except UNREADABLE:
            # Looked at again when it is applied; what cannot be read cannot be masked either, so that is left out.
            hidden = {name: None for name in plan.settings.mask}
            fields = _fields.decode(change.after or b"{}")
            found.append(Shown(canonical(change.key), msgspec.json.encode(fields | hidden), differs=True))
    return found


def _compare(connection: Connection, store: Store, plan: TablePlan, changes: Sequence[Change]) -> list[Shown]:
    keys = store.keys(plan, changes)
    images = connection.ask(plan.show, (json_array(c.after or b"null" for c in changes),)).fetchall()
    stored = dict(connection.ask(plan.present, (json_array(c.key for c in changes),)).fetchall())
    unknown = store.unknown.of(plan.label, keys)
    found: list[Shown] = []
    for place, (key, (shown,), change) in enumerate(zip(keys, images, changes, strict=True), 1):
        if key not in unknown and stored.get(place) == shown:
            found.append(Shown(key, None, differs=False))
            continue
        image = change.after or b"{}"
        masked = plan.mask_image(image, shown) if plan.settings.mask else image
        lacks = unknown.get(key, frozenset())
        found.append(Shown(key, masked, differs=_differs(stored.get(place), shown, lacks), lacks=lacks))
    return found


def _differs(stored: str | None, shown: str, unknown: frozenset[str]) -> bool:
    if stored is None or WHOLE_ROW in unknown:
        return True
    before, after = _fields.decode(stored), _fields.decode(shown)
    return any(raw != after.get(name) for name, raw in before.items() if name not in unknown)
