from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from localstack import Stack

app = typer.Typer(help="The local stack: PostgreSQL, Kafka, and Connect with Debezium.", no_args_is_help=True)

HomeOption = Annotated[Path, typer.Option("--home", envvar="WAKE_HOME", help="State directory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DEFAULT_HOME = Path(".wake")


@app.command()
def up(home: HomeOption = DEFAULT_HOME) -> None:
    """Start the stack and wait until everything serves; repair what is dead."""
    from console.operators import ensure_local_admin

    stack = _stack(home)
    with _progress("starting the stack") as report:
        stack.up(report)
        ensure_local_admin(stack.env()["LEDGER_URL"], home / "token")


@app.command()
def down(
    home: HomeOption = DEFAULT_HOME,
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove all data, passwords and tokens too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Stop what `up` started."""
    stack = _stack(home)
    if wipe and not yes:
        typer.confirm(f"Remove all data of the stack in {home.resolve()}?", abort=True)
    with _progress("stopping the stack") as report:
        stack.down(wipe=wipe, report=report)


@app.command()
def status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show what each part is doing; exit 1 unless all run."""
    parts = _stack(home).status()
    if as_json:
        document = {"home": str(home.resolve()), "parts": [dataclasses.asdict(part) for part in parts]}
        print(json.dumps(document, indent=2))
    else:
        for part in parts:
            pid = str(part.pid) if part.pid else "–"
            print(f"{part.state:<8} {part.part:<10} {pid:>8}  {part.address:<30} {part.reason or part.log}")
    if any(part.state != "running" for part in parts):
        raise typer.Exit(1)


@app.command()
def env(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Print the stack's addresses as environment variables: eval "$(wake stack env)"."""
    variables = _stack(home).env()
    if as_json:
        print(json.dumps(variables, indent=2))
    else:
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")


def _stack(home: Path) -> Stack:
    from localstack import Stack

    return Stack(home)


@contextmanager
def _progress(doing: str) -> Generator[Callable[[str], None]]:
    """Report lines as they come; on a terminal with a spinner below them."""
    if not sys.stdout.isatty():
        yield _print_now
        return
    from rich.console import Console

    console = Console(highlight=False)
    with console.status(doing):
        yield console.print


def _print_now(line: str) -> None:
    print(line, flush=True)
