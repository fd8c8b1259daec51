from __future__ import annotations

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.unit.connectors.source_server import MakeDatabase, make_database, source_server
from wakestream import exact_json, fences, ledger, remembered

__all__ = ["make_database", "source_server"]

CHARACTERS = st.sampled_from('aä\u20ac\U0001f6eb"\\')


@pytest.fixture
def ledger_url(make_database: MakeDatabase) -> str:
    url = make_database("")
    ledger.migrate(url)
    return url


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(CHARACTERS, min_size=1, max_size=3), st.integers(0, 2100))
def test_the_ledger_and_we_give_a_key_the_same_name(ledger_url: str, text: str, count: int) -> None:
    key = exact_json.dump({"code": text * count})
    query = sql.SQL("select {}").format(remembered.subject_sql(sql.Literal(key)))
    with psycopg.connect(ledger_url) as connection:
        assert connection.execute(query).fetchone() == (remembered.subject(key),)


@pytest.mark.parametrize("code", ["short", "ä" * 1500])
def test_what_is_not_known_of_a_row_is_found_by_its_key(ledger_url: str, code: str) -> None:
    key = {"row": 1, "code": code}
    with psycopg.connect(ledger_url) as connection:
        connection.execute(
            "insert into wake.missing_value values ('s', 'public.seat', %s, '{n}')",
            (remembered.subject(exact_json.dump(key)),),
        )
        withheld = fences.unknown(connection, "s", {"public.seat"})
        connection.rollback()
    assert fences.unknown_of(withheld, "public.seat", key) == ["n"]
    assert fences.unknown_of(withheld, "public.seat", {**key, "row": 2}) == ()
    assert fences.unknown_of(withheld, "public.other", key) == ()
