"""A revision compiled: every captured table and entity of a source, ready for the cycle."""

from __future__ import annotations

import dataclasses
from functools import cached_property

from cdc_consumer.entities import EntityPlan
from cdc_consumer.tables import TablePlan
from wakestream.capture import Revision


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """What the consumer does with one source under one revision."""

    revision: Revision

    @cached_property
    def tables(self) -> dict[str, TablePlan]:
        """The captured tables by `schema.table`."""
        capture, catalogue = self.revision.capture, self.revision.catalogue
        return {
            label: TablePlan(self.revision.source, table, settings, capture.placeholder)
            for label, settings in capture.tables.items()
            if (table := catalogue.table(label)) is not None
        }

    @cached_property
    def keyless(self) -> frozenset[str]:
        """Those of them that have no primary key."""
        return frozenset(label for label, plan in self.tables.items() if plan.keyless)

    @cached_property
    def entities(self) -> tuple[EntityPlan, ...]:
        """The entities, by name."""
        return tuple(EntityPlan(entity, self.tables) for _, entity in sorted(self.revision.capture.entities.items()))

    @cached_property
    def watched(self) -> frozenset[str]:
        """Tables whose changes may change a document."""
        return frozenset(label for entity in self.entities for label in entity.watched)
