"""Finding one thing by its id, or saying which ids come near."""

from __future__ import annotations

import difflib
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from wakestream.errors import RefusedError
from wakestream.ledger import models

Found = TypeVar("Found", models.Run, models.Action, models.DeadLetter)

CANDIDATES = 1000  # newest ids that an unknown one is compared with
SHOWN = 3

# What a thing is called, and by what its newest are found.
_THINGS: dict[type[models.Base], tuple[str, InstrumentedAttribute[datetime]]] = {
    models.Run: ("run", models.Run.created_at),
    models.Action: ("action", models.Action.created_at),
    models.DeadLetter: ("dead letter", models.DeadLetter.at),
}


def by_id(session: Session, model: type[Found], wanted: str | int, *, lock: bool = False) -> Found:
    """The row with this id, locked if asked.

    Raises `RefusedError` with the nearest ids.
    """
    found = session.get(model, wanted, with_for_update=True if lock else None)
    if found is None:
        raise RefusedError(f"no {_THINGS[model][0]} `{wanted}`{_nearest(session, model, str(wanted))}")
    return found


def _nearest(session: Session, model: type[Found], wanted: str) -> str:
    column: InstrumentedAttribute[Any] = model.id
    noun, made = _THINGS[model]
    known = [str(value) for value in session.scalars(select(column).order_by(made.desc()).limit(CANDIDATES))]
    if not known:
        return f"; there is no {noun} yet"
    near = difflib.get_close_matches(wanted, known, n=SHOWN, cutoff=0.6)
    listed = ", ".join(f"`{each}`" for each in near or known[:SHOWN])
    return f"; {'nearest' if near else 'newest'}: {listed}"
