from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import ConfigOption, JsonOption, YesOption

if TYPE_CHECKING:
    from connectors.repair import Situation


def repair(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The source's name in the file.")],
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Name what is wrong with slot, offsets or connector from evidence, and mend it; exit 1 when left as it is."""
    from connectors import databases
    from connectors import repair as repairing

    loaded = options.load(config)
    databases.require_source(loaded, source)
    found = repairing.examine(loaded, source)
    _show(found, as_json=as_json)
    if found is None:
        return
    if as_json and not yes:
        raise typer.Exit(1)
    options.confirm("Do this?", yes)
    repairing.repair(loaded, source, found, lambda line: print(line, file=sys.stderr if as_json else sys.stdout))
    sys.stdout.flush()


def _show(found: Situation | None, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        told = None if found is None else {**msgspec.to_builtins(found), "cost": found.cost}
        print(msgspec.json.encode(told).decode(), flush=True)
    elif found is None:
        print("nothing to repair", flush=True)
    else:
        print(f"{found.name}: {found.evidence}\nway: {found.way}\ncost: {found.cost}", flush=True)
