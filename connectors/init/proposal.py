"""Everything that the first file will say, put together from what was found and what was chosen."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connectors.databases import Connection
from connectors.init import entities, shapes, triggers
from connectors.init.columns import ColumnProposals, propose_columns
from connectors.init.entities import EntityProposal
from connectors.init.survey import FoundTable, Survey
from connectors.init.triggers import TriggerProposal
from wakestream.config.loading import nearest
from wakestream.errors import ConfigurationError, RefusedError


@dataclass(frozen=True)
class Proposal:
    """What is to be written."""

    survey: Survey
    chosen: tuple[str, ...]
    """The tables to capture, as `schema.table`."""
    columns: Mapping[str, ColumnProposals]
    """For every table that could be captured; of those not chosen by name alone."""
    trigger: TriggerProposal
    entity: EntityProposal
    """The entity of the trigger's table; written only where it is more than the table."""
    others: tuple[EntityProposal, ...]
    """Those of the other chosen tables."""

    @property
    def source(self) -> str:
        """What the file calls the database."""
        return self.survey.catalogue.source

    @property
    def agent(self) -> str:
        """The first agent's name."""
        return f"{self.entity.name[: entities.LONGEST - 8]}_watcher"

    @property
    def capture_variable(self) -> str:
        """What holds the capture role's URL."""
        return f"{self.source.upper()}_CAPTURE_URL"

    @property
    def admin_variable(self) -> str:
        """What holds the admin role's URL."""
        return f"{self.source.upper()}_ADMIN_URL"


def choose_tables(survey: Survey, wanted: Sequence[str]) -> list[str]:
    """The tables that were named, with or without their schema.

    Raises `ConfigurationError` for one that does not exist or cannot be captured.
    """
    found: list[str] = []
    problems: list[str] = []
    for name in wanted:
        matches = [each for each in survey.tables if name in (each.label, each.table.name)]
        exact = [each for each in matches if name == each.label] or matches
        if not exact:
            problems.append(f"no table `{name}` in {survey.database}{nearest(name, _names(survey))}")
        elif len(exact) > 1:
            problems.append(f"several tables are called `{name}`: name one of {', '.join(t.label for t in exact)}")
        elif exact[0].refusal is not None:
            problems.append(f"`{exact[0].label}` cannot be captured: {exact[0].refusal}")
        else:
            found.append(exact[0].label)
    if problems:
        raise ConfigurationError(*problems)
    return list(dict.fromkeys(found))


def default_tables(survey: Survey) -> list[str]:
    """The table that says most about what happens, and those that it refers to."""
    best = next(triggers.candidates(survey.capturable, name_proposals(survey)), None)
    if best is None:
        raise RefusedError(f"{survey.database} has no table that can be captured: each needs a primary key")
    root = next(each for each in survey.capturable if each.label == best.table)
    labels = {each.label for each in survey.capturable}
    return [
        best.table,
        *dict.fromkeys(key.table for key in root.table.foreign_keys if key.table in labels - {best.table}),
    ]


def name_proposals(survey: Survey) -> dict[str, ColumnProposals]:
    """What the names alone say about every table that can be captured."""
    needed = _needed(survey)
    return {each.label: propose_columns(each.table, None, needed[each.label]) for each in survey.capturable}


def proposals(connection: Connection, survey: Survey, chosen: Sequence[str]) -> dict[str, ColumnProposals]:
    """The same, with the shapes of the values in the chosen tables; the shapes are all that is read of a row."""
    needed, made = _needed(survey), name_proposals(survey)
    for found in survey.capturable:
        if found.label in chosen:
            made[found.label] = propose_columns(found.table, shapes.sample(connection, found), needed[found.label])
    return made


def trigger_choices(
    survey: Survey, chosen: Sequence[str], columns: Mapping[str, ColumnProposals], limit: int
) -> list[TriggerProposal]:
    """The best triggers over the chosen tables."""
    return list(itertools.islice(triggers.candidates(_tables(survey, chosen), columns), limit))


def find_trigger(
    survey: Survey, chosen: Sequence[str], columns: Mapping[str, ColumnProposals], label: str
) -> TriggerProposal:
    """The trigger on `schema.table.column`; raises `ConfigurationError` where there is none."""
    known = list(triggers.candidates(_tables(survey, chosen), columns))
    for each in known:
        if each.label == label:
            return each
    raise ConfigurationError(f"no trigger can be proposed on `{label}`{nearest(label, [each.label for each in known])}")


def propose(
    survey: Survey,
    chosen: Sequence[str],
    columns: Mapping[str, ColumnProposals],
    trigger: TriggerProposal,
) -> Proposal:
    """Put it together."""
    tables = {each.label: each for each in _tables(survey, chosen)}
    first = entities.propose_entity(tables[trigger.table], tables, columns, ())
    others: list[EntityProposal] = []
    for label, found in tables.items():
        if label != trigger.table:
            taken = {first.name, *(each.name for each in others)}
            others.append(entities.propose_entity(found, tables, columns, taken))
    return Proposal(survey, tuple(tables), columns, trigger, first, tuple(e for e in others if e.members))


def _tables(survey: Survey, chosen: Sequence[str]) -> list[FoundTable]:
    return [each for each in survey.capturable if each.label in chosen]


def _needed(survey: Survey) -> dict[str, set[str]]:
    """By table, the columns that keys and foreign keys stand on."""
    needed = {each.label: set(each.table.key) for each in survey.tables}
    for each in survey.tables:
        for key in each.table.foreign_keys:
            needed[each.label].update(key.columns)
            needed.setdefault(key.table, set()).update(key.references)
    return needed


def _names(survey: Survey) -> list[str]:
    return [each.label for each in survey.tables]
