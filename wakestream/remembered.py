"""Under which names the ledger remembers rows: their keys, as far as an index takes them."""

from __future__ import annotations

import hashlib

from psycopg import sql

LONGEST = 2000
"""Bytes of a key that an index surely takes; a longer one is remembered by its digest."""

DIGEST = "sha256:"


def subject(key: str) -> str:
    """Under which name a row with this key is remembered."""
    if len(key) <= LONGEST // 4 or len(key.encode()) <= LONGEST:
        return key
    return f"{DIGEST}{hashlib.sha256(key.encode()).hexdigest()}"


def subject_sql(key: sql.Composable) -> sql.Composed:
    """The same in SQL."""
    return sql.SQL(
        "case when octet_length({key}) <= {longest} then {key}"
        " else {digest} || encode(sha256(convert_to({key}, 'UTF8')), 'hex') end"
    ).format(key=key, longest=sql.Literal(LONGEST), digest=sql.Literal(DIGEST))
