from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import YesOption
from wakestream.errors import ConfigurationError

if TYPE_CHECKING:
    from connectors.databases import Connection
    from connectors.init import Proposal, Survey, TriggerProposal
    from connectors.roles import Roles

SHOWN_TRIGGERS = 8
STACK = "KAFKA_BOOTSTRAP, CONNECT_URL, CONNECT_SECRETS and LEDGER_URL"


def init(
    url: Annotated[
        str, typer.Argument(metavar="URL", envvar="DATABASE_URL", show_envvar=True, help="postgresql://user@host/name")
    ],
    table: Annotated[
        list[str] | None, typer.Option("--table", metavar="TABLE", help="Capture this table; may be given again.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Capture every table that can be captured.")] = False,
    trigger: Annotated[
        str | None, typer.Option("--trigger", metavar="SCHEMA.TABLE.COLUMN", help="What the first trigger watches.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar="NAME", help="What to call it; default the database's name.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", envvar="WAKE_CONFIG", metavar="FILE", help="The file to write.")
    ] = options.DEFAULT_CONFIG,
    yes: YesOption = False,
) -> None:
    """Write a first configuration for a database: commented, complete, and without a value of any row."""
    from connectors import databases, roles
    from connectors import init as proposing

    name = proposing.source_name(url, source)
    asking = sys.stdin.isatty() and not yes
    if not (asking or yes or table or every):
        raise ConfigurationError("say which tables: --table TABLE, --all, or --yes to take what is proposed")
    with proposing.connected(url) as connection, databases.asking("looking at the database"):
        survey = proposing.survey(connection, name)
        chosen = _tables(survey, table or (), every=every, asking=asking)
        proposal = _proposal(connection, survey, chosen, trigger, asking=asking)
        excluded = {label: tuple(proposal.columns[label].exclude) for label in chosen}
        wanted = roles.propose(connection, name, excluded)
    files = proposing.new_files(proposal, roles.script(wanted), output)
    proposing.write(files)
    _tell(proposal, wanted, list(files), url, output)


def _tables(survey: Survey, named: Sequence[str], *, every: bool, asking: bool) -> list[str]:
    """The tables to capture: as the flags say, as the person answers, or as is proposed."""
    from connectors import init as proposing

    if every:
        return [each.label for each in survey.capturable]
    if named:
        return proposing.choose_tables(survey, named)
    proposed = proposing.default_tables(survey)
    return _ask_tables(survey, proposed) if asking else proposed


def _ask_tables(survey: Survey, proposed: Sequence[str]) -> list[str]:
    from cli import output
    from connectors import init as proposing

    labels = [each.label for each in survey.capturable]
    cells = [
        [str(number), each.label, _number(each.rows), _number(each.writes_per_hour), ", ".join(each.table.key)]
        for number, each in enumerate(survey.capturable, 1)
    ]
    output.table(["", "table", "rows", "writes/h", "key"], cells)
    refused = len(survey.tables) - len(labels)
    if refused:
        typer.echo(f"{refused} more cannot be captured; the file will say why")
    default = ",".join(str(labels.index(label) + 1) for label in proposed)
    while True:
        answer = typer.prompt("Which tables? Numbers (1,3-5), names, or all", default=default)
        try:
            return chosen_of(answer, labels) or proposing.choose_tables(survey, re.split(r"[,\s]+", answer.strip()))
        except ConfigurationError as error:
            typer.echo(str(error), err=True)


def chosen_of(answer: str, labels: Sequence[str]) -> list[str]:
    """The labels that `all`, `3` or `1,3-5` mean; nothing for anything else."""
    if answer.strip() == "all":
        return list(labels)
    chosen: list[str] = []
    for part in re.split(r"[,\s]+", answer.strip()):
        numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if numbers is None:
            return []
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if not 1 <= first <= last <= len(labels):
            raise ConfigurationError(f"`{part}` is not among 1 to {len(labels)}")
        chosen += labels[first - 1 : last]
    return list(dict.fromkeys(chosen))


def _proposal(
    connection: Connection, survey: Survey, chosen: Sequence[str], label: str | None, *, asking: bool
) -> Proposal:
    from connectors import init as proposing

    columns = proposing.proposals(connection, survey, chosen)
    if label is not None:
        trigger = proposing.find_trigger(survey, chosen, columns, label)
    else:
        choices = proposing.trigger_choices(survey, chosen, columns, SHOWN_TRIGGERS if asking else 1)
        trigger = _ask_trigger(choices) if asking and len(choices) > 1 else choices[0]
    return proposing.propose(survey, chosen, columns, trigger)


def _ask_trigger(choices: Sequence[TriggerProposal]) -> TriggerProposal:
    for number, each in enumerate(choices, 1):
        typer.echo(f"{number}  {each.table}: {each.when} ({each.fire})")
    while True:
        number: int = typer.prompt("What should wake the agent first?", default=1, type=int)
        if 1 <= number <= len(choices):
            return choices[number - 1]
        typer.echo(f"{number} is not among 1 to {len(choices)}", err=True)


def _number(found: float | None) -> str:
    return "–" if found is None else f"{found:,.0f}"


def _tell(proposal: Proposal, wanted: Roles, files: Sequence[Path], url: str, output: Path) -> None:
    """What was written, what to export, and what comes next; nothing secret."""
    from cli.main import COMMANDS
    from connectors import init as proposing

    trigger = proposal.trigger
    config = "" if output == options.DEFAULT_CONFIG else f" -c {shlex.quote(str(output))}"
    print(f"wrote {', '.join(map(str, files))}; nothing was changed in the database")
    prompt = proposing.prompt_path(proposal, output)
    if prompt not in files:
        print(f"{prompt} was there already and stays as it is")
    print(
        f"\nRead {output}: what is captured, masked and left out is for you to decide. It takes from the environment:"
    )
    print(f'  eval "$(wake stack env)"    # on the local stack; elsewhere export {STACK}')
    print(f"  export {proposal.capture_variable}={shlex.quote(proposing.example_url(url, wanted.capture))}")
    if wanted.has_admin:
        print(f"  export {proposal.admin_variable}={shlex.quote(proposing.example_url(url, wanted.admin))}")
    else:
        print(f"  {proposal.admin_variable} may stay empty: then `wake apply` prints the SQL for the tables' owner")
    print("roles.sql makes the roles. For a first try both variables may hold the URL that you gave to `wake init`.")
    print("\nThen:")
    for command in ("doctor", "apply", "up"):
        if command in COMMANDS:
            print(f"  wake{config} {command}")
    change = (
        f"set {trigger.column} to {trigger.state} in" if trigger.state else f"change {trigger.column or 'anything'} of"
    )
    print(f"and {change} a row of {trigger.table}: `wake{config} runs list` shows what came of it")
