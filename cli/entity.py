from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from console import views

app = typer.Typer(help="Entities.", no_args_is_help=True)


@app.callback()
def entity() -> None:
    """Entities: rows with the rows related to them."""


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ENTITY", help="The entity's name in the file.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="The root's key, as in `42`.")],
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Show an entity's document as the agent would see it now, and at which position that is."""
    from cli import output
    from console.context import ContextStore
    from wakestream.config.loading import nearest
    from wakestream.errors import ConfigurationError

    settings = options.load(config).config
    if name not in settings.entities:
        raise ConfigurationError(f"{config}: no entity `{name}`{nearest(name, settings.entities)}")
    source = settings.entities[name].root.partition(".")[0]
    with ContextStore.opened(settings, source) as store:
        found = store.document(name, key)
    if as_json:
        output.document(found)
    else:
        for line in _lines(found):
            print(line)
    if found.document is None:
        raise typer.Exit(1)


def _lines(found: views.StoredEntity) -> Iterator[str]:
    from cli import output

    if found.document is None:
        yield f"no {found.entity} {output.cell(found.key)}"
    for name, value in (found.document or {}).items():
        yield f"{name}: {output.cell(value)}"
    for path in found.missing:
        yield f"{path}: not known"
    for label in found.incomplete:
        yield f"the mirror of {label} is not complete, or behind a gap"
    place = found.position
    yield f"at log {place.log} offset {place.offset}, commit {place.commit or '–'}"
