"""Faults of roles, tables, types and publications: each is found, nothing else is, and its own remedy mends it."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.stack.doctoring import EXTRA, GRANT, PUBLISHED, Case, Patient, go_through
from tests.stack.played_worker import playing

CAP, AIR, PUB = "air.capture", "air", "air.publication wake_air"


def extra(columns: str, *, with_: str = "") -> str:
    """A table beside the healthy ones."""
    return f"set role owner\ncreate table extra ({columns}) {with_}\n{GRANT}"


def of_extra(id: str, fault: str, name: str = "", *, undo: str | None = None) -> Case:
    return Case(id, f"air.{EXTRA}", fault, tables={EXTRA: {}}, undo=undo, name=name)


def service(mark: str, name: str) -> Case:
    roles = f"create role {mark} nologin\nalter role cap noreplication"
    return Case("roles.replication", CAP, roles, name=name)


ROLES = [
    Case("roles.replication", CAP, "alter role cap noreplication"),
    service("rds_superuser\ncreate role rds_replication", "rds"),
    service("cloudsqlsuperuser", "cloud_sql"),
    service("azure_pg_admin", "azure"),
    service("supabase_admin", "supabase"),
    service("neon_superuser", "neon"),
    Case("roles.usage", "air.app", "revoke usage on schema app from cap"),
    Case("roles.select", "air.public.flight", "revoke select on flight from cap"),
    Case(
        "roles.select_columns",
        "air.public.flight",
        "revoke select on flight from cap\ngrant select (id, status) on flight to cap",
    ),
    Case("roles.superuser", CAP, "alter role cap superuser"),
    Case("roles.powers", CAP, "alter role cap createrole createdb"),
    Case("roles.writes", "air.public.flight", "grant insert, update on flight to cap"),
    Case(
        "roles.writes", "air.app.note", "grant delete on app.note to others\ngrant others to cap", name="by_membership"
    ),
    Case("roles.writes", "air.public.booking", "grant truncate on booking to public", name="by_everybody"),
    Case("roles.timeouts", CAP, "alter role cap set statement_timeout = '30s'"),
    Case("roles.timeouts", CAP, "alter role cap set idle_session_timeout = '10min'", name="idle"),
    Case(
        "roles.expires",
        CAP,
        "do $$ begin execute format('alter role cap valid until %L', now() + interval '5 days'); end $$",
    ),
    Case("roles.connection_limit", CAP, "alter role cap connection limit 2"),
    Case("roles.admin_owner", "air.public.flight", "alter table flight owner to others\ngrant select on flight to cap"),
    Case(
        "roles.admin_create",
        "air.admin",
        "do $$ begin execute format('revoke create on database %I from owner', current_database()); end $$",
    ),
    Case("roles.admin_publication", "air.admin", "alter publication wake_air owner to postgres", PUBLISHED),
    Case(
        "roles.admin_unreachable",
        "air.admin",
        "alter role owner password 'other'",
        undo="alter role owner password 'doctor'",
    ),
    Case("roles.connection_unreachable", "connections.ops", "alter role ops nologin", undo="alter role ops login"),
    Case("roles.connection_denied", "actions.cancel", "revoke update on booking from ops"),
    Case("roles.connection_powers", "connections.ops", "alter role ops bypassrls createrole"),
]

PARTITIONED = "id int primary key"
BY_RANGE = "partition by range (id)"
LEAF = "create table leaf partition of extra for values from (0) to (9)"

TABLES = [
    Case(
        "tables.missing",
        "air.app.note",
        "alter table app.note rename to notes",
        undo="alter table app.notes rename to note",
    ),
    Case(
        "tables.name",
        "air.public.odd,name",
        'set role owner\ncreate table "odd,name" (id int primary key)\ngrant select on "odd,name" to cap',
        tables={"public.odd,name": {}},
        undo="",
    ),
    of_extra("tables.view", f"create view extra as select * from flight\n{GRANT}", undo=""),
    of_extra("tables.view", f"create materialized view extra as select * from flight\n{GRANT}", "kept", undo=""),
    of_extra(
        "tables.foreign",
        "create foreign data wrapper far\ncreate server away foreign data wrapper far\n"
        f"create foreign table extra (id int) server away\n{GRANT}",
        undo="",
    ),
    of_extra("tables.unlogged", extra("id int primary key").replace("create table", "create unlogged table")),
    Case(
        "tables.unlogged",
        "air.public.leaf",
        f"{extra(PARTITIONED, with_=BY_RANGE)}\n{LEAF.replace('table', 'unlogged table')}",
        tables={EXTRA: {}},
        name="partition",
    ),
    of_extra("tables.inheritance", f"{extra('id int primary key')}\ncreate table below () inherits (extra)", undo=""),
    Case(
        "tables.partition",
        "air.public.leaf",
        f"{extra(PARTITIONED, with_=BY_RANGE)}\n{LEAF}\ngrant select on leaf to cap",
        tables={EXTRA: {}, "public.leaf": {}},
        undo="",
    ),
    of_extra("tables.no_key", extra("id int"), undo=""),
    of_extra("tables.no_key", f"{extra('id int not null')}\ncreate unique index i on extra (id)", "with_an_index"),
    Case("tables.identity_nothing", "air.public.flight", "alter table flight replica identity nothing"),
    Case(
        "tables.identity_nothing",
        "air.public.leaf",
        f"{extra(PARTITIONED, with_=BY_RANGE)}\n{LEAF}\nalter table leaf replica identity nothing",
        tables={EXTRA: {}},
        name="partition",
    ),
    of_extra(
        "tables.identity_index",
        f"{extra('id int primary key, code int not null')}\ncreate unique index i on extra (code)\n"
        "alter table extra replica identity using index i",
    ),
    Case("tables.row_security", "air.public.booking", "alter table booking enable row level security"),
    of_extra("tables.toast", extra("id int primary key, picture bytea")),
    Case("tables.toast", "air.public.flight", tables={"public.flight": {"mirror": False}}, name="unmirrored"),
    of_extra("tables.generated", extra("id int primary key, twice int generated always as (id * 2) stored")),
    Case(
        "tables.large",
        AIR,
        "set allow_system_table_mods = on\nupdate pg_class set reltuples = 1e9 where relname = 'booking'",
        undo="analyze booking",
    ),
]

TYPES = [
    of_extra("types.key", extra("id varbit primary key"), undo=""),
    of_extra("types.lost", extra("id int primary key, at time[]"), "time"),
    of_extra("types.lost", extra("id int primary key, spans interval[]"), "interval"),
    of_extra("types.lost", extra("id int primary key, at timetz"), "timetz"),
    of_extra("types.lost", extra("id int primary key, n numeric(5, -2)"), "scale"),
    of_extra("types.dimensions", extra("id int primary key, board int[][]")),
    Case(
        "types.infinity",
        "air.app.note",
        "insert into app.note select n, '', 'infinity' from generate_series(2, 9) n\nanalyze app.note",
    ),
]

ROOTED = f"{extra(PARTITIONED, with_=BY_RANGE)}\n{LEAF}\n"
LISTED = "alter publication wake_air drop table flight\nalter publication wake_air add table flight"
PUBLICATIONS = [
    Case("publication.all_tables", PUB, "create publication wake_air for all tables"),
    Case("publication.operations", PUB, "alter publication wake_air set (publish = 'insert, update')", PUBLISHED),
    Case(
        "publication.via_root",
        PUB,
        "set role owner\ncreate publication wake_air for table flight, booking, app.note, extra",
        ROOTED,
        {EXTRA: {}},
    ),
    Case("publication.table_missing", "air.public.flight", "alter publication wake_air drop table flight", PUBLISHED),
    Case(
        "publication.table_surplus",
        "air.public.extra",
        f"{extra('id int primary key')}\nalter publication wake_air add table extra",
        PUBLISHED,
    ),
    Case("publication.row_filter", "air.public.flight", f"{LISTED} where (id > 5)", PUBLISHED),
    Case("publication.column_list", "air.public.flight", f"{LISTED} (id, status, fare)", PUBLISHED),
    Case(
        "publication.excluded_column",
        "air.public.flight",
        "",
        PUBLISHED,
        {"public.flight": {"exclude": ["gate"]}},
    ),
    Case(
        "publication.breaks_writes",
        "air.publication theirs",
        "create table log (line text)\ncreate publication theirs for table log",
    ),
    Case(
        "publication.all_tables_elsewhere",
        "air.publication theirs",
        "create publication theirs for all tables",
        undo="drop publication theirs",
    ),
]

CASES = [*ROLES, *TABLES, *TYPES, *PUBLICATIONS]


@pytest.fixture(autouse=True)
def _quick_worker(one: Patient) -> Generator[None]:
    with playing(one):
        yield


def test_a_healthy_source_has_no_findings(one: Patient) -> None:
    assert one.findings() == []
    one.execute(PUBLISHED)
    assert one.findings() == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fault_is_found_and_its_remedy_mends_it(case: Case, one: Patient) -> None:
    go_through(case, one)
