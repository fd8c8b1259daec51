from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import ConfigOption, JsonOption, LimitOption

if TYPE_CHECKING:
    from cli import output
    from console import views


def why(
    about: Annotated[str, typer.Argument(metavar="EVENT_OR_KEY", help="`public.flight/7`, `7`, or an event's id.")],
    limit: LimitOption = options.DEFAULT_LIMIT,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Say what a change or a key led to: activations, suppressed ones with their reason, counts, dead letters."""
    from cli import output

    found = options.insights(config).why(about, limit=limit)
    if as_json:
        output.document(found)
        return
    nothing = f"no trigger was met for {about}; `wake events tail --from beginning` has the changes themselves"
    output.rows(found.activations, _activations(), as_json=False, empty=nothing)
    if found.counts:
        print("\nconditions over all keys")
        output.rows(found.counts, _counts(), as_json=False, empty="")
    if found.letters:
        print("\ndead letters")
        output.rows(found.letters, _letters(), as_json=False, empty="")


def _activations() -> output.Columns[views.ActivationRow]:
    return {
        "STATE": lambda each: each.state,
        "TRIGGER": lambda each: each.trigger,
        "EVENT": lambda each: each.event,
        "COMMITTED": lambda each: each.committed_at,
        "RUN": lambda each: each.run_state,
        "REASON": lambda each: each.reason,
    }


def _counts() -> output.Columns[views.CountRow]:
    return {
        "TRIGGER": lambda each: each.trigger,
        "OUTCOME": lambda each: each.outcome,
        "COUNT": lambda each: each.count,
        "LAST": lambda each: each.last_at,
        "LAST EVENT": lambda each: each.last_event,
    }


def _letters() -> output.Columns[views.LetterRow]:
    return {
        "STATE": lambda each: each.state,
        "ID": lambda each: each.id,
        "STAGE": lambda each: each.stage,
        "KIND": lambda each: each.kind,
        "REASON": lambda each: each.reason,
    }
