"""Masks: what of a value is shown instead of it.

None shows more than half of a value's characters, and what is too short for that is shown as stars alone. A character
is a Unicode code point. NULL stays null.
"""

from __future__ import annotations

from collections.abc import Callable

from psycopg import sql

KEY = sql.SQL("decode(current_setting('wake.mask_key'), 'hex')")
"""The session carries the key of the hashes, so that no statement's text holds it."""

STARS = "***"

# One `@` between a name and a domain of two labels or more; what else stands around it makes it no address.
_ADDRESS = r"^[^@\s]+@[^@\s<>,;:()\[\]\"'']+\.[^@\s<>,;:()\[\]\"''.]+$"


def masked(kind: str, value: sql.Composable) -> sql.Composable:
    """The masked text of a value; `kind` as a capture has it: `hash`, `redact`, `email`, `last4`, `truncate:3`."""
    name, _, argument = kind.partition(":")
    if name == "truncate":
        return _truncated(value, int(argument))
    return _KINDS[name](value)


def _hash(value: sql.Composable) -> sql.Composable:
    """The same value gives the same hash, and nothing gives the value back.

    The key stands inside and outside, so that the hash cannot be extended or guessed without it.
    """
    inner = sql.SQL("sha256({key} || convert_to(({value})::text, 'UTF8'))").format(key=KEY, value=value)
    return sql.SQL("'sha256:' || encode(sha256({} || {}), 'hex')").format(KEY, inner)


def _redact(value: sql.Composable) -> sql.Composable:
    return sql.SQL("case when {} is null then null else {} end").format(value, sql.Literal(STARS))


def _email(value: sql.Composable) -> sql.Composable:
    """`a***@example.org`; a name of one character is not shown, and of what is no address nothing is."""
    return sql.SQL(
        "case when ({value})::text is null then null when ({value})::text !~ {address} then {stars}"
        " else case when strpos(({value})::text, '@') > 2 then left(({value})::text, 1) else '' end"
        " || {stars} || substr(({value})::text, strpos(({value})::text, '@')) end"
    ).format(value=value, address=_regex(_ADDRESS), stars=sql.Literal(STARS))


def _last4(value: sql.Composable) -> sql.Composable:
    """`****1111`; of what has fewer than eight characters nothing."""
    return sql.SQL(
        "case when ({value})::text is null then null"
        " else '****' || case when length(({value})::text) < 8 then '' else right(({value})::text, 4) end end"
    ).format(value=value)


def _truncated(value: sql.Composable, kept: int) -> sql.Composable:
    """The first characters and `...`; of what has fewer than twice as many nothing."""
    return sql.SQL(
        "case when ({value})::text is null then null when length(({value})::text) < {twice} then {stars}"
        " else left(({value})::text, {kept}) || '...' end"
    ).format(value=value, kept=sql.Literal(kept), twice=sql.Literal(2 * kept), stars=sql.Literal(STARS))


def _regex(pattern: str) -> sql.SQL:
    return sql.SQL("'" + pattern + "'")  # pyright: ignore[reportArgumentType] - a constant of ours, quoted above


_KINDS: dict[str, Callable[[sql.Composable], sql.Composable]] = {
    "hash": _hash,
    "redact": _redact,
    "email": _email,
    "last4": _last4,
}
