from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from console import views

app = typer.Typer(help="The context store.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The source's name in the file.")]


@app.callback()
def context() -> None:
    """The context store: the captured tables as the consumer has them."""


@app.command()
def show(
    source: Source,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="`schema.table`.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's values, as in `7` or `LH400,12A`.")],
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Show a row as the store has it, and at which position that is."""
    from cli import output
    from console.context import ContextStore

    with ContextStore.opened(options.load(config).config, source) as store:
        found = store.row(table, key)
    if as_json:
        output.document(found)
    else:
        for line in _row(found):
            print(line)
    if found.row is None:
        raise typer.Exit(1)


@app.command()
def verify(
    source: Source,
    table: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Default: every mirrored table.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="Leave a table after so many differences.")
    ] = 1000,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Compare the store with its source, while both go on; exit 1 where they differ."""
    from cli import output
    from console.verifying import verify as compare

    well = True
    for found in compare(options.load(config), source, table, limit):
        well = well and found.state in ("same", "not mirrored")
        if as_json:
            output.document(found)
        else:
            for line in _verified(found):
                print(line, flush=True)
    raise typer.Exit(0 if well else 1)


@app.command()
def schema(
    source: Source,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A table (`schema.table`) or an entity; default: all.")
    ] = None,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Print the JSON Schema of the events of a table or an entity."""
    import json

    from console import event_schema
    from console.context import ContextStore
    from wakestream.config.loading import nearest
    from wakestream.errors import RefusedError

    with ContextStore.opened(options.load(config).config, source) as store:
        known = event_schema.names(store.plan)
        if name is not None and name not in known:
            raise RefusedError(f"`{name}` is no captured table or entity of {source}{nearest(name, known)}")
        for each in known if name is None else [name]:
            made = event_schema.schema_of(store.plan, each)
            print(json.dumps(made, ensure_ascii=False, indent=None if name is None else 2))


def _row(found: views.StoredRow) -> Iterator[str]:
    from cli import output

    if found.row is None:
        why = "" if found.complete else "; the mirror is not complete, so it may exist"
        yield f"no row {output.cell(found.key)} in {found.table}{why}"
    for name, value in (found.row or {}).items():
        yield f"{name}: {output.cell(value)}"
    for name in found.missing:
        yield f"{name}: not known"
    if found.row is not None and not found.complete:
        yield "the mirror is not complete"
    for reason in found.gaps:
        yield f"behind a gap: {reason}"
    yield f"at {_place(found.position)}"


def _verified(found: views.Verified) -> Iterator[str]:
    from cli import output

    said = {
        "incomplete": "not compared: the mirror is not complete, or behind a gap; `wake status` says why",
        "not mirrored": "not compared: captured with `mirror: false`",
    }
    yield f"{found.table}: {said.get(found.state, f'{found.state}, {found.rows} rows')}, at {_place(found.position)}"
    for each in found.differing:
        columns = f" in {', '.join(each.columns)}" if each.columns else ""
        yield f"  {each.how}{columns}: {output.cell(each.key)}"
    for key in found.unsettled:
        yield f"  changes too often to be compared: {output.cell(key)}"
    if found.missing:
        yield f"  {found.missing} values are not known to the store and were not compared"


def _place(position: views.StorePosition) -> str:
    return f"log {position.log} offset {position.offset}, commit {position.commit or '–'}"
