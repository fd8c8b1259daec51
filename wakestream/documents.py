"""How an entity's document is put together in SQL; shared by whoever reads one from mirrors or from a source."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from wakestream.capture import Entity, Member


def type_name(text: str) -> sql.SQL:
    """A type's name as `format_type` prints it, which quotes what needs quoting."""
    return sql.SQL(text)  # pyright: ignore[reportArgumentType]


def operators_sql(text: str) -> sql.SQL:
    """SQL from the configuration, inside a statement that has parameters."""
    return sql.SQL(text.replace("%", "%%"))  # pyright: ignore[reportArgumentType]


def document(entity: Entity) -> sql.Composed:
    """The expression of the document: the root's columns, then members, then computed fields."""
    pairs: list[sql.Composable] = []
    for member in entity.members:
        shown = sql.SQL("{}.wake__list") if member.many else sql.SQL("to_jsonb({}.*)")
        pairs.append(sql.SQL("{}, ").format(sql.Literal(member.name)) + shown.format(sql.Identifier(member.name)))
    for computed in entity.computed:
        pairs.append(sql.SQL("{}, ({})").format(sql.Literal(computed.name), operators_sql(computed.sql)))
    root = sql.SQL("to_jsonb({}.*)").format(sql.Identifier(entity.name))
    if not pairs:
        return sql.Composed([root])
    return sql.SQL("({} || jsonb_build_object({}))").format(root, sql.SQL(", ").join(pairs))


def joins(entity: Entity, tables: Mapping[str, sql.Identifier]) -> sql.Composed:
    """What joins the members to the root, each under its own name."""
    return sql.SQL("").join(
        _many(member, tables[member.table]) if member.many else _one(entity, member, tables[member.table])
        for member in entity.members
    )


def _one(entity: Entity, member: Member, table: sql.Identifier) -> sql.Composed:
    same = sql.SQL(" and ").join(
        sql.SQL("{}.{} = {}.{}").format(
            sql.Identifier(member.name), sql.Identifier(other), sql.Identifier(entity.name), sql.Identifier(own)
        )
        for own, other in zip(member.columns, member.references, strict=True)
    )
    return sql.SQL(" left join {} as {} on {}").format(table, sql.Identifier(member.name), same)


def _many(member: Member, table: sql.Identifier) -> sql.Composed:
    name = sql.Identifier(member.name)
    where = operators_sql(member.where or "true")
    order = sql.SQL(" order by {}").format(operators_sql(member.order)) if member.order else sql.SQL("")
    return sql.SQL(
        " left join lateral (select coalesce(jsonb_agg(to_jsonb(wake__row.*)), '[]') as wake__list from"
        " (select {name}.* from {table} as {name} where {where}{order} limit {limit}) as wake__row) as {name} on true"
    ).format(name=name, table=table, where=where, order=order, limit=sql.Literal(member.limit))
