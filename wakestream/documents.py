"""How an entity's document is put together in SQL; shared by whoever reads one from mirrors or from a source.

Every row of a document has an alias: the root the entity's name, a member its own, one inside another member the path
to it, as in `flight__aircraft`. A list is one row with one column, `rows`, under its alias.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec
from psycopg import sql

from wakestream import mirroring
from wakestream.capture import CapturedTable, Entity, Member
from wakestream.catalogue import Catalogue


def type_name(text: str) -> sql.SQL:
    """A type's name as `format_type` prints it, which quotes what needs quoting."""
    return sql.SQL(text)  # pyright: ignore[reportArgumentType]


def operators_sql(text: str) -> sql.SQL:
    """SQL from the configuration, inside a statement that has parameters."""
    return sql.SQL(text.replace("%", "%%"))  # pyright: ignore[reportArgumentType]


def alias(chain: Sequence[Member]) -> str:
    """Under which name SQL knows the last of these members, each of which stands inside the one before it."""
    return "__".join(member.name for member in chain)


def mirrored(entity: Entity, catalogue: Catalogue, captured: Mapping[str, CapturedTable]) -> Entity:
    """The entity as mirrors can show it: without `fields` that none of them has."""
    columns = {
        label: {column.name for column in mirroring.shown(catalogue.tables[label], captured[label])}
        for label in entity.tables
    }
    return narrowed(entity, columns)


def narrowed(entity: Entity, columns: Mapping[str, Collection[str]]) -> Entity:
    """The entity with `fields` of these columns only, by table."""
    return msgspec.structs.replace(
        entity,
        fields=_those(entity.fields, columns[entity.root]),
        members=tuple(_narrowed(member, columns) for member in entity.members),
    )


def _narrowed(member: Member, columns: Mapping[str, Collection[str]]) -> Member:
    return msgspec.structs.replace(
        member,
        fields=_those(member.fields, columns[member.table]),
        members=tuple(_narrowed(each, columns) for each in member.members),
    )


def _those(fields: tuple[str, ...] | None, columns: Collection[str]) -> tuple[str, ...] | None:
    return None if fields is None else tuple(name for name in fields if name in columns)


def document(entity: Entity) -> sql.Composed:
    """The expression of the document: the root's columns, then members, then computed fields."""
    pairs = [_pair(member, ()) for member in entity.members]
    pairs += [
        sql.SQL("{}, ({})").format(sql.Literal(computed.name), operators_sql(computed.sql))
        for computed in entity.computed
    ]
    return _row(entity.name, entity.fields, pairs)


def joins(entity: Entity, tables: Mapping[str, sql.Identifier]) -> sql.Composed:
    """What joins the members to the root, each under its alias."""
    return _joins(entity.name, (), entity.members, tables)


def equal(names: tuple[str, str], columns: Iterable[tuple[str, str]]) -> sql.Composed:
    """That columns of two aliases are equal, pair by pair."""
    left, right = names
    return sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left, one), sql.Identifier(right, other)) for one, other in columns
    )


def _pair(member: Member, above: tuple[Member, ...]) -> sql.Composed:
    """Name and value of a member in the object of the row above it."""
    chain = (*above, member)
    name = alias(chain)
    if member.many:
        return sql.SQL("{}, {}").format(sql.Literal(member.name), sql.Identifier(name, "rows"))
    shown = _row(name, member.fields, [_pair(inner, chain) for inner in member.members])
    if member.members or member.fields is not None:  # a row that is not there is no object
        found = sql.Identifier(name, member.references[0])
        shown = sql.SQL("case when {} is not null then {} end").format(found, shown)
    return sql.SQL("{}, {}").format(sql.Literal(member.name), shown)


def _row(name: str, fields: tuple[str, ...] | None, pairs: Sequence[sql.Composable]) -> sql.Composed:
    if fields is None:
        image = sql.SQL("to_jsonb({}.*)").format(sql.Identifier(name))
    else:
        listed = sql.SQL(", ").join(sql.Identifier(name, column) for column in fields)
        image = sql.SQL("(select to_jsonb(wake__row.*) from (select {}) as wake__row)").format(listed)
    if not pairs:
        return sql.Composed([image])
    return sql.SQL("({} || jsonb_build_object({}))").format(image, sql.SQL(", ").join(pairs))


def _joins(
    parent: str, above: tuple[Member, ...], members: Iterable[Member], tables: Mapping[str, sql.Identifier]
) -> sql.Composed:
    """Single rows first, at every depth: the SQL of lists may speak of them."""
    lists: list[sql.Composed] = []
    singles = list(_singles(parent, above, members, tables, lists))
    return sql.Composed([*singles, *lists])


def _singles(
    parent: str,
    above: tuple[Member, ...],
    members: Iterable[Member],
    tables: Mapping[str, sql.Identifier],
    lists: list[sql.Composed],
) -> Iterator[sql.Composed]:
    for member in members:
        chain = (*above, member)
        if member.many:
            lists.append(_many(parent, chain, tables))
        else:
            yield _one(parent, chain, tables[member.table])
            yield from _singles(alias(chain), chain, member.members, tables, lists)


def _one(parent: str, chain: tuple[Member, ...], table: sql.Identifier) -> sql.Composed:
    member, name = chain[-1], alias(chain)
    if not member.pick:
        same = _same(parent, chain)
        return sql.SQL(" left join {} as {} on {}").format(table, sql.Identifier(name), same)
    return sql.SQL(
        " left join lateral (select {name}.* from {table} as {name} where {where}{order} limit 1) as {name} on true"
    ).format(name=sql.Identifier(name), table=table, where=_where(parent, chain), order=_order(chain))


def _many(parent: str, chain: tuple[Member, ...], tables: Mapping[str, sql.Identifier]) -> sql.Composed:
    member, name = chain[-1], alias(chain)
    item = _row(name, member.fields, [_pair(inner, chain) for inner in member.members])
    return sql.SQL(
        " left join lateral (select coalesce(jsonb_agg(wake__found.item), '[]') as rows from"
        " (select {item} as item from {table} as {name}{joins} where {where}{order} limit {limit}) as wake__found)"
        " as {name} on true"
    ).format(
        item=item,
        table=tables[member.table],
        name=sql.Identifier(name),
        joins=_joins(name, chain, member.members, tables),
        where=_where(parent, chain),
        order=_order(chain),
        limit=sql.Literal(member.limit),
    )


def _where(parent: str, chain: tuple[Member, ...]) -> sql.Composed:
    member = chain[-1]
    parts: list[sql.Composable] = [_same(parent, chain)] if member.columns else []
    if member.where is not None:
        parts.append(sql.SQL("({})").format(operators_sql(member.where)))
    return sql.SQL(" and ").join(parts)


def _same(parent: str, chain: tuple[Member, ...]) -> sql.Composed:
    member = chain[-1]
    return equal((alias(chain), parent), zip(member.references, member.columns, strict=True))


def _order(chain: tuple[Member, ...]) -> sql.Composed:
    """The order of what is found, which is always one and the same."""
    member = chain[-1]
    parts: list[sql.Composable] = [operators_sql(member.order)] if member.order else []
    parts += [sql.Identifier(alias(chain), column) for column in member.key]
    return sql.SQL(" order by {}").format(sql.SQL(", ").join(parts)) if parts else sql.Composed([])
