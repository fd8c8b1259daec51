from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.options import ConfigOption, JsonOption, KeyOption, LimitOption, ReasonOption, YesOption
from wakestream import states
from wakestream.errors import RefusedError

if TYPE_CHECKING:
    from cli import output
    from console import views

app = typer.Typer(help="Actions that runs proposed.", no_args_is_help=True)

ActionId = Annotated[str, typer.Argument(metavar="ACTION", help="The action's id.")]
StateOption = Annotated[
    list[str] | None,
    typer.Option("--state", callback=options.among(states.ACTION), help="Only in this state; may be given again."),
]


@app.command("list")
def list_actions(
    state: StateOption = None,
    trigger: Annotated[str | None, typer.Option(help="Only of this trigger.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only of this agent.")] = None,
    key: KeyOption = None,
    limit: LimitOption = options.DEFAULT_LIMIT,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """List actions."""
    from cli import output

    found = options.insights(config).actions(states=state or (), trigger=trigger, agent=agent, key=key, limit=limit)
    output.rows(found, _columns(), as_json=as_json, empty="no actions; `wake runs list` has what the agents decided")


@app.command()
def show(action: ActionId, as_json: JsonOption = False, config: ConfigOption = options.DEFAULT_CONFIG) -> None:
    """Tell an action's whole story."""
    from cli import output, story

    found = options.insights(config).action(action)
    if as_json:
        output.document(found)
    else:
        story.tell_action(found)


@app.command()
def approve(
    action: ActionId,
    reason: ReasonOption = None,
    although_stale: Annotated[
        bool, typer.Option("--although-stale", help="Also when what it was decided on has changed since.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Let an action run that waits for a person."""
    from cli import output, story

    operations = options.operations(config)
    if not yes and sys.stdin.isatty():
        output.section(f"action {action}", story.action_lines(options.insights(config).action(action)))
    options.confirm("Execute this?", yes)
    output.decided(operations.approve(action, reason, although_stale=although_stale), as_json=as_json)


@app.command()
def reject(
    action: ActionId,
    reason: ReasonOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Keep an action from running; takes a reason."""
    from cli import output

    operations = options.operations(config)
    options.confirm(f"Reject action {action}?", yes)
    output.decided(operations.reject(action, reason), as_json=as_json)


@app.command()
def edit(
    action: ActionId,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A choice or parameter; JSON, or else text. May be repeated."),
    ] = None,
    reason: ReasonOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Change what an action that waits for a person has chosen or says; it goes on waiting. Takes a reason."""
    from cli import output, story

    changes, operations = _changes(setting or ()), options.operations(config)
    options.confirm(f"Change action {action}?", yes)
    output.decided(operations.edit(action, changes, options.load(config).config, reason), as_json=as_json)
    if not as_json:
        output.section(f"action {action}", story.action_lines(options.insights(config).action(action)))


def _changes(settings: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` by name. Raises `typer.BadParameter` where there is no `=`."""
    import msgspec

    from wakestream import exact_json

    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{setting}' is not NAME=VALUE", param_hint="--set")
        try:
            found[name] = exact_json.load(text)
        except msgspec.DecodeError:
            found[name] = text
    return found


@app.command()
def retry(
    action: ActionId,
    reason: ReasonOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Try an action again that failed, or whose effect is unknown: that one may happen twice."""
    from cli import output
    from console.operations import TWICE

    operations = options.operations(config)
    if not yes and options.insights(config).action(action).state == "unknown":
        if not sys.stdin.isatty():
            raise RefusedError(f"action `{action}` is unknown: {TWICE}; say so with --yes")
        typer.echo(TWICE, err=True)
    options.confirm(f"Retry action {action}?", yes)
    output.decided(operations.retry_action(action, reason), as_json=as_json)


@app.command()
def settle(
    action: ActionId,
    happened: Annotated[
        bool | None, typer.Option("--happened/--did-not", help="Whether it took effect; one of the two is needed.")
    ] = None,
    reason: ReasonOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Say of an action whose outcome is unknown whether it happened; takes a reason."""
    from cli import output

    if happened is None:
        raise RefusedError("say whether it happened: --happened or --did-not")
    operations = options.operations(config)
    options.confirm(f"Settle action {action} as {'succeeded' if happened else 'failed'}?", yes)
    output.decided(operations.settle_action(action, reason, happened=happened), as_json=as_json)


@app.command()
def undo(
    action: ActionId,
    reason: ReasonOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Take back what an SQL action did, unless its rows were changed since; takes a reason."""
    from cli import output

    operations = options.operations(config)
    options.confirm(f"Take back action {action}?", yes)
    output.decided(operations.undo(action, reason), as_json=as_json)


def _columns() -> output.Columns[views.ActionRow]:
    from cli import story

    return {
        "STATE": lambda action: action.state,
        "ID": lambda action: action.id,
        "NAME": lambda action: action.name,
        "KIND": lambda action: action.kind,
        "BOUND": lambda action: action.bound,
        "CHOSEN": lambda action: action.chosen,
        "ATTEMPTS": lambda action: action.attempts,
        "DECIDED BY": lambda action: action.decided_by,
        "CREATED": lambda action: action.created_at,
        "BECAUSE": lambda action: action.alarm or action.reason,
        "RECEIPT": lambda action: story.receipt_text(action.receipt),
    }
