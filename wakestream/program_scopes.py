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
    root = _row(catalogue, captured, entity.root)
    fields: dict[str, Node] = dict(root.fields)
    for member in entity.members:
        element = _row(catalogue, captured, member.table)
        fields[member.name] = ListOf(element) if member.many else element
    for computed in entity.computed:
        fields[computed.name] = condition_scope.scalar_named(computed.type)
    image = Document(fields, entity.name, root.withheld)
    return condition_scope.trigger_scope(image, condition_scope.key_of(_table(catalogue, entity.root)))


def _row(catalogue: Catalogue, captured: capture.Capture, table: str) -> Document:
    return condition_scope.document_of(_table(catalogue, table), without=_withheld(captured, table))


def _withheld(captured: capture.Capture, table: str) -> frozenset[str]:
    """Columns that no expression may read: excluded or masked."""
    settings = captured.tables.get(table, capture.CapturedTable())
    return settings.hidden | frozenset(settings.mask)


def _table(catalogue: Catalogue, label: str) -> Table:
    table = catalogue.table(label)
    if table is None:
        raise LookupError(f"the catalogue of {catalogue.source} has no table {label}")
    return table
