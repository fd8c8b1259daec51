"""Subjects as people type them: a whole one, `public.flight/7`, or a key alone, `7`."""

from __future__ import annotations

from urllib.parse import quote, unquote

from sqlalchemy import ColumnElement, or_
from sqlalchemy.orm import InstrumentedAttribute


def key_part(key: str) -> str:
    """The key's values, joined by `,`, as they stand in a subject; what is encoded already stays so."""
    return ",".join(quote(unquote(value), safe="") for value in key.split(","))


def is_of(subject: str, key: str) -> bool:
    """Whether a subject is this one or has this key."""
    return subject == key or subject.endswith("/" + key_part(key))


def matches(column: InstrumentedAttribute[str], key: str) -> ColumnElement[bool]:
    """Whether a subject is this one or has this key."""
    return or_(column == key, column.endswith("/" + key_part(key), autoescape=True))
