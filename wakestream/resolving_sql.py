"""Tries the SQL of entities without data: over empty tables that have the columns and types of the mirrors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import msgspec
import psycopg
from psycopg import sql

from wakestream import documents, program_sql, resolving_text
from wakestream.capture import CapturedTable, Computed, Entity, Member
from wakestream.catalogue import Catalogue, Column, Table
from wakestream.config.document import KeyPath
from wakestream.config.loading import nearest
from wakestream.mirroring import is_lost, ledger_type
from wakestream.program_problems import Problems
from wakestream.resolving_tables import withheld

# Words that call a function without parentheses; none of them gives the same answer twice.
_KEYWORDS = {
    *("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"),
    *("current_user", "current_role", "session_user", "user", "current_catalog", "current_schema"),
}
# Words before a parenthesis that are no functions of pg_proc, or only look like calls.
_NO_FUNCTIONS = {
    *("and", "or", "not", "in", "any", "all", "some", "exists", "case", "when", "then", "else", "end", "is", "on"),
    *("like", "ilike", "between", "select", "from", "where", "order", "by", "limit", "as", "over", "filter", "using"),
    *("coalesce", "nullif", "greatest", "least", "cast", "row", "array", "values", "distinct", "union", "join"),
    *("numeric", "decimal", "varchar", "char", "character", "bit", "time", "timestamp", "interval", "float", "within"),
    *("position", "substring", "trim", "overlay", "collate", "lateral", "partition", "returning", "wrapper"),
}
_SKIPPED = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | \$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?\$(?P=tag)\$
        | --[^\n]* | /\*.*?\*/""",
    re.VERBOSE | re.DOTALL,
)
_WORD = re.compile(
    r"""(?P<before>[.:]\s*)? (?: "(?P<quoted>(?:[^"]|"")*)" | (?P<plain>[A-Za-z_][\w$]*) ) (?P<call>\s*\()?""",
    re.VERBOSE,
)
# Texts that are another time whenever they are read as one.
_SPECIAL_TIME = re.compile(
    r"""'[^']*\b(?:now|today|tomorrow|yesterday)\b[^']*'
        | (?P<tag>\$\w*\$)(?:(?!(?P=tag)).)*\b(?:now|today|tomorrow|yesterday)\b(?:(?!(?P=tag)).)*(?P=tag)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_NO_TIME = "'no time'"
_MISSING_COLUMN = re.compile(r'column "?(?:[^".]+"?\."?)?([^".]+)"? does not exist')


@dataclass(frozen=True)
class Trial:
    """The SQL of one entity, tried on a connection."""

    entity: Entity
    catalogue: Catalogue
    tables: Mapping[str, CapturedTable]
    connection: psycopg.Connection[Any]
    problems: Problems

    @classmethod
    def of(
        cls,
        entity: Entity,
        catalogue: Catalogue,
        tables: Mapping[str, CapturedTable],
        connection: psycopg.Connection[Any],
        problems: Problems,
    ) -> Trial:
        """The trial of an entity, whose `fields` may show what its SQL may not use."""
        usable = {label: _usable(tables[label], catalogue.tables[label]) for label in entity.tables}
        names = {label: [column.name for column in columns] for label, columns in usable.items()}
        return cls(documents.narrowed(entity, names), catalogue, tables, connection, problems)

    def check_member(self, chain: tuple[Member, ...], *, matched: bool) -> bool:
        """Whether its `where`, `order` and, if it has one, `match` work; each problem is noted with its place."""
        path: KeyPath = ("entities", self.entity.name)
        for each in chain:
            path = (*path, "include", each.name)
        member = chain[-1]
        named = self._named(chain)
        bare = msgspec.structs.replace(member, where=None, order=None)
        without_order = msgspec.structs.replace(member, order=None)
        if matched and not self._runs((*path, "match"), "", (*chain[:-1], bare)):
            return False
        parts = [("where", member.where or "", without_order), ("order", member.order or "", member)]
        for part, text, tried in parts:
            where = (*path, part)
            if not text:
                continue
            alike = self._compares_alike(where, text, named, order=part == "order")
            if not (alike and self._repeatable(where, text) and self._runs(where, text, (*chain[:-1], tried))):
                return False
        return True

    def type_of(self, name: str, text: str) -> str | None:
        """The type of a computed field, or None with its problem noted."""
        path: KeyPath = ("entities", self.entity.name, "compute", name)
        if not (self._compares_alike(path, text, self._named(())) and self._repeatable(path, text)):
            return None
        entity = msgspec.structs.replace(self.entity, computed=(Computed(name, text, ""),))
        whole = self._try(path, text, sql.SQL("select {} from {}").format(documents.document(entity), self._from()))
        if whole is None:
            return None
        only = sql.SQL("select ({}) from {}").format(documents.operators_sql(text), self._from())
        return self._try(path, text, only)

    def _runs(self, path: KeyPath, text: str, chain: tuple[Member, ...]) -> bool:
        """Whether the document can be put together with this member as its only one that may be wrong."""
        entity = msgspec.structs.replace(self.entity, members=tuple(_only(self.entity.members, chain)))
        query = sql.SQL("select {} from {}").format(documents.document(entity), self._from(entity))
        return self._try(path, text, query) is not None

    def _try(self, path: KeyPath, text: str, query: sql.Composed) -> str | None:
        """Run a query over nothing and name the type of its column; None with PostgreSQL's objection noted."""
        full = sql.SQL("with {} {} limit 0").format(self._empty_tables, query)
        try:
            with self.connection.transaction(), self.connection.cursor() as cursor:
                cursor.execute(full, ())  # With parameters, so that a doubled `%` is one again.
                oid = cursor.description[0].type_code if cursor.description else 0
                type_ = _type_name(cursor, oid)
                return (
                    type_
                    if self._speaks_of_the_document(path, cursor, full) and self._is_timeless(path, text, full)
                    else None
                )
        except (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError) as error:
            sent = full.as_string(self.connection).replace("%%", "%")
            line, column = _place(text, sent, error)
            self.problems.add_in(path, line, column, self._explain(error))
            return None

    def _speaks_of_the_document(self, path: KeyPath, cursor: psycopg.Cursor[Any], full: sql.Composed) -> bool:
        """Whether it reads no relation but the document's; notes one that it does read."""
        row = cursor.execute(sql.SQL("explain (verbose, format json) {}").format(full), ()).fetchone()
        foreign = next(_read(row[0] if row else None, self._volatile), None)
        if foreign is not None:
            self.problems.add(
                path, f"it reads {foreign}, whose changes nobody follows here; use the document's rows only"
            )
        return foreign is None

    def _is_timeless(self, path: KeyPath, text: str, full: sql.Composed) -> bool:
        """Whether no text in it is read as the time that it is; notes one that is."""
        found = _SPECIAL_TIME.search(text)
        if found is None:
            return True
        try:
            with self.connection.transaction():
                probe = _SPECIAL_TIME.sub(_NO_TIME, full.as_string(self.connection))
                self.connection.execute(documents.type_name(probe), ())
        except psycopg.errors.InvalidDatetimeFormat:
            line, column = program_sql.place_in(text, found.start())
            self.problems.add_in(path, line, column, f"{found[0]} is another time whenever it is read; use a column")
            return False
        except psycopg.Error:
            return True  # it is read as something else
        return True

    def _named(self, chain: tuple[Member, ...]) -> dict[str, Column]:
        """Columns by the names under which SQL at this place speaks of them."""
        own = chain[-1].table if chain else self.entity.root
        named = {column.name: column for column in self.catalogue.tables[own].columns}
        aliases = {self.entity.name: self.entity.root}
        aliases |= {documents.alias(each): each[-1].table for each in self.entity.chains()}
        for alias, label in aliases.items():
            named |= {f"{alias}.{column.name}": column for column in self.catalogue.tables[label].columns}
        return named

    def _compares_alike(self, path: KeyPath, text: str, named: Mapping[str, Column], *, order: bool = False) -> bool:
        """Whether it compares nothing that the store keeps as another type; notes what it does."""
        found = next(resolving_text.comparisons(_blank(text), named, order=order), None)
        if found is not None:
            self.problems.add_in(path, *program_sql.place_in(text, found[1]), found[0])
        return found is None

    def _explain(self, error: psycopg.Error) -> str:
        message = error.diag.message_primary or str(error)
        column = _MISSING_COLUMN.search(message)
        if column is not None:
            for table in self._involved:
                kinds = self._unusable(table)
                if column[1] in kinds:
                    return f"`{column[1]}` of {table} {kinds[column[1]]}, so the entity cannot use it; write it without"
            names = [
                each.name
                for table in self._involved
                for each in _usable(self.tables[table], self.catalogue.tables[table])
            ]
            return f"{message}{nearest(column[1], names)}"
        hint = error.diag.message_hint
        return f"{message}; {hint[0].lower()}{hint[1:]}" if hint else f"{message}; correct the SQL"

    def _unusable(self, label: str) -> dict[str, str]:
        settings, table = self.tables[label], self.catalogue.tables[label]
        return {
            **{column.name: "never arrives whole" for column in table.columns if is_lost(column)},
            **dict.fromkeys(settings.mask, "is masked"),
            **dict.fromkeys(settings.withheld, "is withheld until the configuration names it"),
            **dict.fromkeys(settings.exclude, "is excluded"),
        }

    @property
    def _involved(self) -> list[str]:
        return sorted(self.entity.tables)

    @cached_property
    def _names(self) -> dict[str, sql.Identifier]:
        return {label: sql.Identifier(f"wake__table_{number}") for number, label in enumerate(self._involved)}

    @cached_property
    def _empty_tables(self) -> sql.Composed:
        """Each table as a query without rows, in the types that its mirror has."""
        return sql.SQL(", ").join(
            sql.SQL("{} as materialized (select {} where false)").format(
                name,
                sql.SQL(", ").join(
                    sql.SQL("null::{} as {}").format(documents.type_name(ledger_type(c)), sql.Identifier(c.name))
                    for c in _usable(self.tables[label], self.catalogue.tables[label])
                ),
            )
            for label, name in self._names.items()
        )

    def _from(self, entity: Entity | None = None) -> sql.Composed:
        joins = documents.joins(entity or self.entity, self._names)
        return sql.SQL("{} as {}{}").format(self._names[self.entity.root], sql.Identifier(self.entity.name), joins)

    def _repeatable(self, path: KeyPath, text: str) -> bool:
        """Whether the SQL gives the same answer whenever it is asked; notes what does not."""
        good = True
        for name, offset in _fickle(text, self._volatile):
            line, column = program_sql.place_in(text, offset)
            message = f"{name} gives another answer another time; use immutable functions and the document's columns"
            self.problems.add_in(path, line, column, message)
            good = False
        return good

    def _volatile(self, function: str) -> bool:
        """Whether PostgreSQL has functions of this name and none of them is immutable."""
        row = self.connection.execute(
            "select count(*) > 0 and not bool_or(provolatile = 'i') from pg_proc where proname = %s", (function,)
        ).fetchone()
        return row is not None and bool(row[0])


def _usable(settings: CapturedTable, table: Table) -> list[Column]:
    """The columns that SQL may be about."""
    hidden = withheld(settings)
    return [column for column in table.columns if column.name not in hidden and not is_lost(column)]


def _only(members: Iterable[Member], chain: tuple[Member, ...]) -> Iterator[Member]:
    """The single members, of which SQL may speak everywhere, and those of the chain, as they stand there."""
    for member in members:
        if chain and member.name == chain[0].name:
            yield msgspec.structs.replace(chain[0], members=tuple(_only(member.members, chain[1:])))
        elif not member.many and not member.pick:
            yield msgspec.structs.replace(member, members=tuple(_only(member.members, ())))


def _fickle(text: str, volatile: Callable[[str], bool]) -> Iterator[tuple[str, int]]:
    """What in the SQL depends on more than its input, with its offset."""
    blank = _blank(text)
    for match in _WORD.finditer(blank):
        name = match["quoted"] if match["plain"] is None else match["plain"].lower()
        offset = match.start("quoted" if match["plain"] is None else "plain")
        if match["call"] and match["plain"] is not None and name in _KEYWORDS:
            yield name, offset
        elif match["call"]:
            to_now = name == "age" and not _has_comma(blank, match.end())
            if to_now or ((match["quoted"] is not None or name not in _NO_FUNCTIONS) and volatile(name)):
                yield f"{name}()", offset
        elif match["plain"] is not None and not match["before"] and name in _KEYWORDS:
            yield name, offset


def _blank(text: str) -> str:
    """SQL with blanks in the place of its literals and comments."""
    return _SKIPPED.sub(lambda match: " " * len(match[0]), text)


def _has_comma(blank: str, start: int) -> bool:
    """Whether the call whose parenthesis opens before this offset has more than one argument."""
    depth = 0
    for character in blank[start:]:
        if character in ")]" and not depth:
            return False
        depth += (character in "([") - (character in ")]")
        if character == "," and not depth:
            return True
    return False


def _read(plan: Any, volatile: Callable[[str], bool]) -> Iterator[str]:
    """What a plan, as JSON shows it, reads but for common table expressions: relations, and what views call."""
    if isinstance(plan, list):
        for each in cast("list[Any]", plan):
            yield from _read(each, volatile)
    elif isinstance(plan, dict):
        node = cast("dict[str, Any]", plan)
        if "Relation Name" in node:
            yield f"{node.get('Schema', 'pg_catalog')}.{node['Relation Name']}"
        elif "Function Name" in node and volatile(str(node["Function Name"])):
            yield f"{node['Function Name']}()"
        for each in node.values():
            yield from _read(each, volatile)


def _type_name(cursor: psycopg.Cursor[Any], oid: int) -> str:
    """`int4`, or `int4[]` for an array."""
    row = cursor.execute(
        "select coalesce(e.typname || '[]', t.typname) from pg_type t"
        " left join pg_type e on e.oid = t.typelem and t.typcategory = 'A' where t.oid = %s",
        (oid,),
    ).fetchone()
    return "text" if row is None else str(row[0])


def _place(text: str, sent: str, error: psycopg.Error) -> tuple[int, int]:
    """Where in the configured text PostgreSQL's objection points, as line and column from one."""
    position, start = error.diag.statement_position, sent.find(text)
    offset = int(position) - 1 - start if position is not None else -1
    if start < 0 or not 0 <= offset <= len(text):
        return 1, 1
    return program_sql.place_in(text, offset)
