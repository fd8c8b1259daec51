"""What a new revision does to mirrors that exist, seen in the ledger."""

from __future__ import annotations

from typing import Any

import pytest

from cdc_consumer import mirror_tables
from cdc_consumer.plan import Plan
from tests.harness.source import Connection
from tests.unit.cdc_consumer.tables import CUSTOMER, FLIGHT, SOURCE, column, plan, table
from wakestream.capture import CapturedTable

MIRROR = f"{SOURCE}__public.flight"
ROW = (1, "late", 3, "secret")


def mirrored(connection: Connection, before: Plan) -> None:
    """A mirror with one row, complete, one of whose values is not known."""
    connection.execute("select set_config('wake.mask_key', '00', false)")
    mirror_tables.prepare(connection, before)
    connection.execute(f"insert into {MIRROR} values (%s, %s, %s, %s)".encode(), ROW)
    connection.execute(
        'insert into wake.mirror_state (source, "table", complete) values (%s, %s, true)', (SOURCE, "public.flight")
    )
    connection.execute(
        "insert into wake.missing_value values (%s, 'public.flight', '1', %s)", (SOURCE, ["status", "big"])
    )


def found(connection: Connection) -> tuple[list[Any], bool, list[Any]]:
    rows = connection.execute(f"select to_jsonb(m.*) from {MIRROR} as m".encode()).fetchall()
    state = connection.execute("select complete from wake.mirror_state where source = %s", (SOURCE,)).fetchone()
    missing = connection.execute("select columns from wake.missing_value where source = %s", (SOURCE,)).fetchall()
    return [row for (row,) in rows], state == (True,), [columns for (columns,) in missing]


def test_what_may_no_longer_be_told_is_taken_out_of_the_mirror(connection: Connection) -> None:
    mirrored(connection, plan(FLIGHT))
    before = plan(FLIGHT).revision
    after = plan(FLIGHT, flight=CapturedTable(mask={"big": "hash", "seats": "redact"}, exclude=("status",)))
    mirror_tables.prepare(connection, after, before)
    ((row,), complete, missing) = found(connection)
    assert row.pop("big").startswith("sha256:")
    assert row == {"id": 1, "seats": "***"}
    assert complete
    assert missing == [["big"]]
    mirror_tables.prepare(
        connection,
        plan(FLIGHT, flight=CapturedTable(mask={"big": "redact", "seats": "redact"}, exclude=("status",))),
        after.revision,
    )
    assert found(connection)[0] == [{"id": 1, "seats": "***", "big": "***"}]


@pytest.mark.parametrize(
    "before",
    [CapturedTable(exclude=("seats",)), CapturedTable(mask={"seats": "hash"}), CapturedTable(mirror=False)],
)
def test_a_mirror_that_must_have_more_is_made_anew(connection: Connection, before: CapturedTable) -> None:
    mirrored(connection, plan(FLIGHT))
    mirror_tables.prepare(connection, plan(FLIGHT), plan(FLIGHT, flight=before).revision)
    assert found(connection) == ([], False, [])


def test_the_mirror_of_a_table_that_is_captured_no_longer_goes(connection: Connection) -> None:
    mirrored(connection, plan(FLIGHT, CUSTOMER))
    mirror_tables.prepare(connection, plan(CUSTOMER), plan(FLIGHT, CUSTOMER).revision)
    assert connection.execute("select to_regclass(%s)", (MIRROR,)).fetchone() == (None,)
    assert connection.execute("select to_regclass(%s) is null", (f"{SOURCE}__public.customer",)).fetchone() == (False,)


def test_a_mirror_that_stays_keeps_its_rows(connection: Connection) -> None:
    mirrored(connection, plan(FLIGHT))
    mirror_tables.prepare(connection, plan(FLIGHT, table("new", "id", column("id", "int4"))), plan(FLIGHT).revision)
    rows, complete, missing = found(connection)
    assert [tuple(row[name] for name in ("id", "status", "seats", "big")) for row in rows] == [ROW]
    assert (complete, missing) == (True, [["status", "big"]])
