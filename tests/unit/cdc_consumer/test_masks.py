"""Masks as PostgreSQL makes them: each tells what its page says, and never more."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from psycopg import sql

from cdc_consumer import masks
from tests.harness.source import Connection

SEED = int(os.environ["WAKE_SEED"])

# Whatever a column may hold: PostgreSQL has no NUL, and UTF-8 no surrogates.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
ADDRESSES = st.builds("{}@{}".format, TEXTS, st.one_of(TEXTS, st.sampled_from(("example.org", "a.b.c", "localhost"))))
BATCHES = st.lists(st.one_of(st.none(), TEXTS, ADDRESSES), min_size=1, max_size=40)

examined = settings(
    deadline=None, database=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def shown(connection: Connection, kind: str, values: Sequence[str | None]) -> list[str | None]:
    connection.execute("select set_config('wake.mask_key', 'aa', false)")
    query = sql.SQL("select {} from unnest(%s::text[]) with ordinality x(v, n) order by n").format(
        masks.masked(kind, sql.SQL("x.v"))
    )
    return [row[0] for row in connection.execute(query, (list(values),)).fetchall()]


@seed(SEED)
@examined
@given(BATCHES)
def test_last4(connection: Connection, values: list[str | None]) -> None:
    wanted = [None if v is None else "****" + (v[-4:] if len(v) >= 8 else "") for v in values]
    assert shown(connection, "last4", values) == wanted


@seed(SEED)
@examined
@given(BATCHES, st.integers(1, 30))
def test_truncate(connection: Connection, values: list[str | None], kept: int) -> None:
    wanted = [None if v is None else v[:kept] + "..." if len(v) >= 2 * kept else "***" for v in values]
    assert shown(connection, f"truncate:{kept}", values) == wanted


@seed(SEED)
@examined
@given(BATCHES)
def test_email(connection: Connection, values: list[str | None]) -> None:
    for value, mask in zip(values, shown(connection, "email", values), strict=True):
        if value is None:
            assert mask is None
        elif mask != "***":
            name, _, domain = value.partition("@")
            assert (bool(name), "@" in domain) == (True, False)
            assert mask == (name[0] if len(name) > 1 else "") + f"***@{domain}"


@seed(SEED)
@examined
@given(BATCHES)
def test_redact_and_hash(connection: Connection, values: list[str | None]) -> None:
    assert shown(connection, "redact", values) == [None if v is None else "***" for v in values]
    hashes = shown(connection, "hash", values)
    assert [h is None for h in hashes] == [v is None for v in values]
    assert len(set(hashes)) == len(set(values))
    assert hashes == shown(connection, "hash", values)


@pytest.mark.parametrize(
    ("value", "mask"),
    [
        ("jane@example.org", "j***@example.org"),
        ("ä.b@bücher.example", "ä***@bücher.example"),
        ("🛫x@example.org", "🛫***@example.org"),
        ("j@example.org", "***@example.org"),
        ("jane", "***"),
        ("jane@localhost", "***"),
        ("@example.org", "***"),
        ("jane@example.org, joe@example.org", "***"),
        ("jane@example.org,joe.example", "***"),
        ("Jane <jane@example.org>", "***"),
        ("<jane@example.org>", "***"),
        ("a@b@example.org", "***"),
        ("jane@example.", "***"),
        ("", "***"),
    ],
)
def test_what_is_an_address(connection: Connection, value: str, mask: str) -> None:
    assert shown(connection, "email", [value]) == [mask]


@pytest.mark.parametrize(("kind", "mask"), [("last4", "****5678"), ("truncate:2", "12..."), ("email", "***")])
def test_values_that_are_no_text(connection: Connection, kind: str, mask: str) -> None:
    query = sql.SQL("select {}").format(masks.masked(kind, sql.SQL("12345678")))
    assert connection.execute(query).fetchone() == (mask,)
