from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import ConfigOption, JsonOption, KeyOption, LimitOption, ReasonOption, YesOption
from wakestream import states

if TYPE_CHECKING:
    from cli import output
    from console import views

app = typer.Typer(help="Runs of agents.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
StateOption = Annotated[
    list[str] | None,
    typer.Option("--state", callback=options.among(states.RUN), help="Only in this state; may be given again."),
]


@app.command("list")
def list_runs(
    state: StateOption = None,
    trigger: Annotated[str | None, typer.Option(help="Only of this trigger.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only of this agent.")] = None,
    key: KeyOption = None,
    limit: LimitOption = options.DEFAULT_LIMIT,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """List runs."""
    from cli import output

    found = options.insights(config).runs(states=state or (), trigger=trigger, agent=agent, key=key, limit=limit)
    output.rows(found, _columns(), as_json=as_json, empty="no runs; `wake why SUBJECT` says what a change led to")


@app.command()
def show(run: RunId, as_json: JsonOption = False, config: ConfigOption = options.DEFAULT_CONFIG) -> None:
    """Tell a run's whole story."""
    from cli import output, story

    found = options.insights(config).run(run)
    if as_json:
        output.document(found)
    else:
        story.tell_run(found)


@app.command()
def tree(run: RunId, as_json: JsonOption = False, config: ConfigOption = options.DEFAULT_CONFIG) -> None:
    """Tell what led to a run and what came of it: change, run, action, change and so on."""
    from cli import causes, output

    found = options.insights(config).tree(run)
    if as_json:
        output.document(found)
    else:
        causes.tell(found)


@app.command()
def retry(
    run: RunId,
    reason: ReasonOption = None,
    step: Annotated[
        str | None,
        typer.Option("--from", metavar="STEP", help="Ask this step (model:1) and those after it again."),
    ] = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Start a failed or parked run again, or let one go that waits for a budget."""
    from cli import output

    operations = options.operations(config)
    options.confirm(f"Retry run {run}{f' from {step}' if step else ''}?", yes)
    output.decided(operations.retry_run(run, reason, step=step), as_json=as_json)


def _columns() -> output.Columns[views.RunRow]:
    return {
        "STATE": lambda run: run.state,
        "ID": lambda run: run.id,
        "AGENT": lambda run: run.agent,
        "KEY": lambda run: run.key,
        "ATTEMPTS": lambda run: run.attempts,
        "NEXT": lambda run: run.run_at,
        "TOKENS": lambda run: f"{run.tokens_in}+{run.tokens_out}",
        "COST": lambda run: f"{run.cost:.4f}",
        "MODEL MS": lambda run: f"{run.model_ms:.0f}",
        "CREATED": lambda run: run.created_at,
        "ERROR": lambda run: run.error,
    }
