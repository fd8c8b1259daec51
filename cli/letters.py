from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import ConfigOption, JsonOption, LimitOption, ReasonOption, YesOption

if TYPE_CHECKING:
    from cli import output
    from console import views

app = typer.Typer(help="Dead letters: what could not be processed, and why.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="LETTER", help="The letter's number.")]
LETTER_STATES = ("open", "retried", "discarded")
StateOption = Annotated[
    list[str] | None,
    typer.Option("--state", callback=options.among(LETTER_STATES), help="Only in this state; may be given again."),
]


@app.command("list")
def list_letters(
    state: StateOption = None,
    limit: LimitOption = options.DEFAULT_LIMIT,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """List dead letters of consumer and agent."""
    from cli import output

    found = options.insights(config).letters(states=state or (), limit=limit)
    output.rows(found, _columns(), as_json=as_json, empty="no dead letters")


@app.command()
def show(letter: Number, as_json: JsonOption = False, config: ConfigOption = options.DEFAULT_CONFIG) -> None:
    """Show a dead letter with its event, where that is kept."""
    from cli import output

    found = options.insights(config).letter(letter)
    if as_json:
        output.document(found)
        return
    pairs = {name: getattr(found, name) for name in found.__struct_fields__ if name != "history"}
    output.section(f"letter {letter}", output.fields(pairs))
    output.history(found.history)


@app.command()
def retry(
    letter: Number,
    reason: ReasonOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Try a letter again: the agent evaluates its event, the consumer brings up to date what it left behind."""
    from cli import output

    operations = options.operations(config)
    options.confirm(lambda: f"{operations.foretell_retry(letter)}\nRetry letter {letter}?", yes)
    output.decided(operations.retry_letter(letter, reason), as_json=as_json)


@app.command()
def discard(
    letter: Number,
    reason: ReasonOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Close a letter without doing anything about it; takes a reason."""
    from cli import output

    operations = options.operations(config)
    options.confirm(f"Discard letter {letter}?", yes)
    output.decided(operations.discard_letter(letter, reason), as_json=as_json)


def _columns() -> output.Columns[views.LetterRow]:
    return {
        "STATE": lambda letter: letter.state,
        "ID": lambda letter: letter.id,
        "STAGE": lambda letter: letter.stage,
        "KIND": lambda letter: letter.kind,
        "ABOUT": lambda letter: letter.subject,
        "PLACE": lambda letter: f"{letter.topic}[{letter.partition}]@{letter.offset}",
        "ATTEMPTS": lambda letter: letter.attempts,
        "AT": lambda letter: letter.at,
        "REASON": lambda letter: letter.reason,
        "RETRY": lambda letter: letter.outcome,
    }
