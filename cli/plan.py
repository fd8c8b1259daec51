"""`wake plan`: what `wake apply` would do, step by step, as text, JSON or a script for a DBA."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from connectors.apply import Options, Plan
    from connectors.matching import Match

ALLOWED = ("replica-identity",)

AssumeOption = Annotated[
    bool,
    typer.Option("--assume-database", help="Leave the database's part to a DBA: verify that it is done, use no admin."),
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="WHAT",
        callback=options.among(ALLOWED),
        help="`replica-identity`: set REPLICA IDENTITY FULL where the file wants it.",
    ),
]


def plan(
    as_json: JsonOption = False,
    sql: Annotated[bool, typer.Option("--sql", help="Only the database's part, as a script for a DBA.")] = False,
    assume_database: AssumeOption = False,
    allow: AllowOption = None,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Show what `apply` would do: each step's object, SQL or call, lock and effect. Nothing is changed."""
    from connectors import apply as attaching
    from connectors import matching

    loaded = options.load(config)
    with attaching.planning(loaded, _tell, options_of(assume_database, allow)) as found:
        if sql:
            print(found.sql or "-- nothing to do in the database", end="" if found.sql else "\n")
            return
        matches = matching.count(loaded, found)
    if as_json:
        _print_json(found, matches)
    else:
        _print_text(found, matches)
    raise typer.Exit(1 if found.refusals else 0)


def _print_text(found: Plan, matches: list[Match]) -> None:
    show_notes(found)
    for refusal in found.refusals:
        _tell(f"must be so first: {refusal}")
    show_steps(found)
    if not found.steps and not found.refusals:
        print("nothing to do: everything is as the file says")
    for match in matches:
        print(f"trigger {match.trigger}: {match.said}")


def options_of(assume_database: bool, allow: list[str] | None) -> Options:
    """The command line's options as `planning` takes them."""
    from connectors.apply import Options

    return Options(assume_database=assume_database, allow=frozenset(allow or ()))


def show_notes(found: Plan) -> None:
    """What only others can do, on stderr."""
    for note in found.notes:
        _tell(note)


def show_steps(found: Plan) -> None:
    """Each step with what it runs, locks and does to the running application."""
    for number, step in enumerate(found.steps, 1):
        print(f"{number}. {step.what}")
        for line in step.command.splitlines():
            print(f"     {line}")
        print(f"     lock: {step.lock}; effect: {step.effect or 'none'}")
    sys.stdout.flush()


def _print_json(found: Plan, matches: list[Match]) -> None:
    import json

    import msgspec

    steps = [
        {name: getattr(step, name) for name in ("what", "object", "command", "lock", "effect")} for step in found.steps
    ]
    document = {
        "steps": steps,
        "notes": list(found.notes),
        "refusals": list(found.refusals),
        "triggers": [msgspec.to_builtins(match) for match in matches],
    }
    print(json.dumps(document, ensure_ascii=False))


def _tell(line: str) -> None:
    typer.echo(line, err=True)
