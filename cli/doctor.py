from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from connectors.checks.finding import Finding

URL_PREFIXES = ("postgresql://", "postgres://")


def doctor(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="A source of the file (default: all), or postgresql://… for a database before there is a file.",
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Say what is wrong with databases, roles, Kafka, Connect and ledger, and how to mend it; nothing is changed."""
    from connectors import doctor as examining

    if source is not None and source.startswith(URL_PREFIXES):
        found = examining.examine_url(source)
    else:
        found = examining.examine(options.load(config), source)
    if as_json:
        _print_json(found)
    else:
        _print_groups(found)
    raise typer.Exit(1 if examining.has_errors(found) else 0)


def _print_json(found: list[Finding]) -> None:
    import msgspec

    for finding in found:
        print(msgspec.json.encode(finding).decode(), flush=True)


def _print_groups(found: list[Finding]) -> None:
    from itertools import groupby

    from cli import output

    for group, findings in groupby(found, key=lambda finding: finding.group):
        output.section(group, [_told(finding) for finding in findings])
    errors = sum(finding.level == "error" for finding in found)
    counts = f"{_counted(errors, 'error')}, {_counted(len(found) - errors, 'warning')}"
    print(counts if found else "nothing found wrong")
    sys.stdout.flush()


def _told(finding: Finding) -> str:
    """What is wrong on one line, and the remedy below it, ready to paste."""
    remedy = "\n".join(f"    {line}" for line in finding.remedy.split("\n"))
    return f"{finding.level}: {finding.object}: {finding.evidence} [{finding.id}]\n{remedy}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
