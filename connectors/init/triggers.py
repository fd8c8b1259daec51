"""A first trigger: a column that says how far something has come, and a condition over it that type-checks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from connectors.init import columns
from connectors.init.columns import ColumnProposals
from connectors.init.survey import FoundTable
from wakestream import condition_problems, condition_scope, conditions
from wakestream.catalogue import Column
from wakestream.condition_scope import Scope
from wakestream.conditions import ConditionError
from wakestream.config.models import Fire
from wakestream.mirroring import is_lost

# Of the states that a schema names, the ones that somebody would want to hear of; the first that fits is proposed.
_TROUBLE = re.compile(
    r"overdue|late|delay|cancel|fail|error|reject|declin|disput|refund|complain|escalat|urgent|block|suspend|lost|expir|return"
)
_MOMENT = re.compile(
    r"(\w+_)?(cancell?ed|failed|rejected|deleted|closed|disputed|returned|expired|suspended)_(at|on|date)"
)


@dataclass(frozen=True, slots=True)
class TriggerProposal:
    """A condition over one column of a table."""

    table: str
    """`schema.table`."""
    column: str | None
    """None where no column says anything, and every change counts."""
    when: str
    fire: Fire
    state: str | None = None
    """The value that the condition waits for, as the schema names it."""
    others: tuple[str, ...] = ()
    """What else the schema lets the column hold."""
    score: float = 0.0

    @property
    def label(self) -> str:
        """`schema.table.column`."""
        return self.table if self.column is None else f"{self.table}.{self.column}"


def candidates(tables: Sequence[FoundTable], proposed: Mapping[str, ColumnProposals]) -> Iterator[TriggerProposal]:
    """Every trigger that could be proposed, the best first; checked as they are asked for."""
    found: list[TriggerProposal] = []
    for table in tables:
        withheld = proposed[table.label].withheld if table.label in proposed else frozenset[str]()
        for column in table.table.columns:
            if column.name not in withheld and column.name not in table.table.key and not is_lost(column):
                found += _of_column(table, column)
        any_change = "before != null && after != null"
        found.append(TriggerProposal(table.label, None, any_change, "change", score=_traffic(table)))
    scopes = {each.label: condition_scope.table_scope(each.table) for each in tables}
    for each in sorted(found, key=lambda each: (-each.score, each.label)):
        if _compiles(each, scopes[each.table]):
            yield each


def _of_column(table: FoundTable, column: Column) -> Iterable[TriggerProposal]:
    path = f"after.{condition_problems.written(column.name)}"
    named, values = columns.is_state(column.name), table.values.get(column.name, ())
    score = _traffic(table) + (40.0 if columns.normal(column.name) in ("status", "state") else 0.0)
    if column.array:
        return
    if values and len(values) > 1:
        state = next((each for each in values if _TROUBLE.search(each.lower())), values[-1])
        others = tuple(each for each in values if each != state)
        score += 100.0 if named else 60.0
        yield TriggerProposal(
            table.label, column.name, f"{path} == {_literal(state)}", "enter", state, others, score=score
        )
    elif named and column.base in ("text", "varchar", "bpchar", "int2", "int4", "enum"):
        yield TriggerProposal(
            table.label, column.name, f"{_literal(column.name)} in changed", "change", score=score + 80.0
        )
    elif _MOMENT.fullmatch(columns.normal(column.name)) and column.base in ("timestamptz", "timestamp", "date"):
        yield TriggerProposal(table.label, column.name, f"{path} != null", "enter", score=score + 50.0)
    elif column.base == "bool":
        yield TriggerProposal(table.label, column.name, path, "enter", score=score + 30.0)


def _traffic(table: FoundTable) -> float:
    """From 0 to 20: a table that is changed says more than one that is not, one that refers more than one alone."""
    return min(12.0, 2.0 * math.log10(1.0 + table.updates)) + min(8.0, 2.0 * len(table.table.foreign_keys))


def _compiles(proposal: TriggerProposal, scope: Scope) -> bool:
    """Whether the condition type-checks, odd names and all."""
    roots = condition_scope.CHANGE_ROOTS if proposal.fire == "change" else condition_scope.ENTER_LEAVE_ROOTS
    try:
        conditions.compile_condition(proposal.when, scope, roots)
    except ConditionError:
        return False
    return True


def _literal(text: str) -> str:
    return f"'{text}'" if re.fullmatch(r"[\w .-]*", text) else json.dumps(text, ensure_ascii=False)
