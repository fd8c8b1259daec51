"""How a tree of causes is told to a person."""

from __future__ import annotations

from collections.abc import Iterator

from cli import output
from console.causes import CausedAction, CausedChange, CausedRun, Tree

STEP = "  "


def tell(tree: Tree) -> None:
    """One line for each change, run and action; what came of it is indented below."""
    for line in _change(tree.change, ""):
        print(line)
    if tree.more:
        print(f"… more below than the {tree.runs} runs shown; ask for one of the last with `wake runs tree RUN`")


def _change(change: CausedChange, indent: str) -> Iterator[str]:
    changed = f" ({', '.join(change.changed)})" if change.changed else ""
    when = f", {output.exactly(change.committed_at)}" if change.committed_at else ""
    what = "again" if change.again else "hand-over of" if change.handed else "change"
    yield f"{indent}{what} {change.subject}{changed}{when}"
    why = f": {change.reason}" if change.reason else ""
    yield f"{indent}{STEP}met {change.trigger} at depth {change.depth}: {change.state}{why}"
    if change.run is not None:
        yield from _run(change.run, indent + STEP)


def _run(run: CausedRun, indent: str) -> Iterator[str]:
    mark = "  ← this one" if run.asked else ""
    error = f": {output.cell(run.error)}" if run.error else ""
    yield f"{indent}run {run.id} of {run.agent}: {run.state}{error}{mark}"
    for action in run.actions:
        yield from _action(action, indent + STEP)


def _action(action: CausedAction, indent: str) -> Iterator[str]:
    rows = "" if action.rows is None else ", 1 row" if action.rows == 1 else f", {action.rows} rows"
    why = f": {action.reason}" if action.reason and action.state != "succeeded" else ""
    yield f"{indent}action {action.name} ({action.kind}) {action.id}: {action.state}{rows}{why}"
    for change in action.changes:
        yield from _change(change, indent + STEP)
