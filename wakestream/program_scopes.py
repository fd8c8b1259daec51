"""What the conditions of a trigger see: a table's rows, or an entity's documents with its members."""

from __future__ import annotations

from wakestream import capture, condition_scope
from wakestream.catalogue import Catalogue, Table
from wakestream.condition_scope import Document, ListOf, Node, Scope


def table_scope(catalogue: Catalogue, captured: capture.Capture, table: str) -> Scope:
    """What a trigger on a table sees."""
    return condition_scope.table_scope(_table(catalogue, table), without=_withheld(captured, table))


def entity_scope(catalogue: Catalogue, captured: capture.Capture, entity: capture.Entity) -> Scope:
    """What a trigger on an entity sees: the root's columns, the members by name, what is computed."""
    image = _row(catalogue, captured, entity.root, entity.fields, entity.members)
    computed = {computed.name: condition_scope.scalar_named(computed.type) for computed in entity.computed}
    document = Document({**image.fields, **computed}, entity.name, image.withheld)
    return condition_scope.trigger_scope(document, condition_scope.key_of(_table(catalogue, entity.root)))


def _row(
    catalogue: Catalogue,
    captured: capture.Capture,
    table: str,
    shown: tuple[str, ...] | None,
    members: tuple[capture.Member, ...],
) -> Document:
    """A row of a document, with the members below it."""
    row = condition_scope.document_of(_table(catalogue, table), without=_withheld(captured, table))
    fields: dict[str, Node] = {name: node for name, node in row.fields.items() if shown is None or name in shown}
    for member in members:
        element = _row(catalogue, captured, member.table, member.fields, member.members)
        fields[member.name] = ListOf(element) if member.many else element
    return Document(fields, row.label, row.withheld)


def _withheld(captured: capture.Capture, table: str) -> frozenset[str]:
    """Columns that no expression may read: excluded or masked."""
    settings = captured.tables.get(table, capture.CapturedTable())
    return settings.hidden | frozenset(settings.mask)


def _table(catalogue: Catalogue, label: str) -> Table:
    table = catalogue.table(label)
    if table is None:
        raise LookupError(f"the catalogue of {catalogue.source} has no table {label}")
    return table
