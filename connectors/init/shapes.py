"""What the values of text columns look like: counted by PostgreSQL, so that no value ever leaves the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, LiteralString, get_args

import psycopg
from psycopg import sql

from connectors.databases import Connection
from connectors.init.survey import FoundTable
from wakestream.catalogue import Table
from wakestream.errors import TransientError

Shape = Literal["email", "phone", "card", "national_id", "secret", "opaque", "prose"]

SAMPLE = 300  # rows
LENGTH = 300  # characters of a value that are looked at
LARGE = 100_000.0  # rows, from where a sample of pages is taken instead of the first rows
STATEMENT_TIMEOUT, LOCK_TIMEOUT = "3s", "500ms"
ENOUGH = 3  # values, below which their shape says nothing
_TEXT = ("text", "varchar", "bpchar", "citext")

_LUHN: LiteralString = """
    (select sum(case when n % 2 = 1 then d when d > 4 then d * 2 - 9 else d * 2 end) % 10 = 0
     from (select digit::int as d, row_number() over (order by place desc) as n
           from regexp_split_to_table(regexp_replace(v, '\\D', '', 'g'), '') with ordinality r(digit, place)) c)"""
_TESTS: dict[Shape, LiteralString] = {
    "email": r"v ~ '^[^@\s]+@[^@\s]+\.[^@\s]+$'",
    "phone": r"v ~ '^(\+[0-9]|\(?0)[0-9 ()./-]{6,18}$|^\(?[0-9]{3}\)?[ .-]{1,2}[0-9]{3}[ .-][0-9]{4}$'"
    r" and v !~ '^\d\d?[./-]\d\d?[./-]\d{2,4}$'",
    "card": rf"case when v ~ '^[2-6][0-9]{{3}}([ -]?[0-9]){{9,15}}$' then {_LUHN} else false end",
    "national_id": r"v ~ '^[0-9]{3}-[0-9]{2}-[0-9]{4}$'"
    r" or v ~ '^[A-Z]{2}[0-9]{2}( ?[A-Z0-9]{4}){2,7}( ?[A-Z0-9]{1,3})?$'",
    "secret": r"v ~ '^\$(2[abxy]|argon2|pbkdf2|scrypt|[156])|^\{(SSHA|SHA|MD5|bcrypt)'"
    r" or v ~ '^(pbkdf2|bcrypt|scrypt|argon2)[_:$]'"
    r" or v ~ '^eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.'"
    r" or v ~ '^(sk|rk|pk|whsec|ghp|gho|xox[abp]|AKIA)[_A-Za-z0-9-]{12,}$'"
    r" or v ~ '^-----BEGIN'",
    "opaque": r"v ~ '^[0-9a-fA-F]{32,}$' or (v ~ '^[A-Za-z0-9+/_-]{40,}={0,2}$' and v ~ '\d' and v ~ '[A-Z]')",
    "prose": r"length(v) > 80 or v ~ '\S\s+\S+\s+\S+\s+\S'",
}
SHAPES: tuple[Shape, ...] = get_args(Shape)


@dataclass(frozen=True, slots=True)
class Shapes:
    """How many of a column's values were seen, and which share of them has which shape."""

    seen: int = 0
    shares: tuple[tuple[Shape, float], ...] = ()

    def share(self, shape: Shape) -> float:
        """From 0 to 1; 0 where too little was seen to tell."""
        return dict(self.shares).get(shape, 0.0) if self.seen >= ENOUGH else 0.0


def sample(connection: Connection, found: FoundTable) -> dict[str, Shapes] | None:
    """The shapes of the text columns that hold anything; None where the table could not be read in time or at all."""
    columns = text_columns(found.table)
    if not columns:
        return {}
    try:
        with connection.transaction():
            connection.execute(
                sql.SQL("set local statement_timeout = {}; set local lock_timeout = {}").format(
                    sql.Literal(STATEMENT_TIMEOUT), sql.Literal(LOCK_TIMEOUT)
                )
            )
            large = (found.rows or 0.0) > LARGE
            shapes = _ask(connection, found, columns, large=large)
            return _ask(connection, found, columns, large=False) if large and not shapes else shapes
    except psycopg.Error:  # its message may quote a value, so it is not shown
        if connection.closed:
            raise TransientError("the database has closed the connection; try again") from None
        return None


def text_columns(table: Table) -> list[str]:
    """The columns whose values have shapes."""
    return [column.name for column in table.columns if column.base in _TEXT and not column.array]


def _ask(connection: Connection, found: FoundTable, columns: Sequence[str], *, large: bool) -> dict[str, Shapes]:
    counted = connection.execute(_query(found, columns, large=large)).fetchall()
    return {str(columns[index]): _shapes(seen, counts) for index, seen, *counts in counted}


def _shapes(seen: int, counts: Sequence[int]) -> Shapes:
    return Shapes(seen, tuple((shape, count / seen) for shape, count in zip(SHAPES, counts, strict=True) if count))


def _query(found: FoundTable, columns: Sequence[str], *, large: bool) -> sql.Composed:
    """Counts by column; whatever a value is, it is only ever compared where it is."""
    picked = sql.SQL("")
    if large:
        percent = min(100.0, 100.0 * 50.0 * SAMPLE / (found.rows or 1.0))
        picked = sql.SQL(" tablesample system ({})").format(sql.Literal(percent))
    names = [sql.Identifier(f"c{index}") for index in range(len(columns))]
    return sql.SQL(
        "select k, count(*), {counts} from (select {values} from {table}{picked} limit {rows}) s,"
        " lateral (values {pairs}) x(k, v) where v <> '' group by k"
    ).format(
        counts=sql.SQL(", ").join(sql.SQL("count(*) filter (where {})").format(sql.SQL(_TESTS[s])) for s in SHAPES),
        values=sql.SQL(", ").join(
            sql.SQL("left({}::text, {}) as {}").format(sql.Identifier(column), LENGTH, name)
            for column, name in zip(columns, names, strict=True)
        ),
        table=sql.Identifier(found.table.schema, found.table.name),
        picked=picked,
        rows=SAMPLE,
        pairs=sql.SQL(", ").join(sql.SQL("({}, {})").format(index, name) for index, name in enumerate(names)),
    )
