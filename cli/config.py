from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from cli import options
from cli.options import ConfigOption
from wakestream.errors import TransientError

if TYPE_CHECKING:
    from wakestream.capture import Revision
    from wakestream.config import Loaded

app = typer.Typer(help="The configuration file.", no_args_is_help=True)


@app.command()
def schema() -> None:
    """Print the file's JSON Schema, for editors."""
    from console.schema import configuration_schema

    print(json.dumps(configuration_schema(), indent=2))


@app.command()
def check(config: ConfigOption = options.DEFAULT_CONFIG) -> None:
    """Check the file, and its conditions against what `apply` last saw of the tables."""
    loaded = options.load(config)
    try:
        revisions = _revisions(loaded)
    except TransientError as error:
        print(f"{config}: the file is fine; conditions were not checked: {error}")
        return
    missing = sorted(set(loaded.config.sources) - set(revisions))
    if missing:
        print(
            f"{config}: the file is fine; conditions were not checked: `wake apply` has not seen {', '.join(missing)}"
        )
        return
    from wakestream.program import compile_program

    compile_program(loaded, revisions)
    print(f"{config}: fine, conditions included")


def _revisions(loaded: Loaded) -> dict[str, Revision]:
    """The newest stored revision of each source; nothing from a ledger that has no schema yet."""
    import psycopg

    from console import sessions
    from wakestream import capture, ledger
    from wakestream.config import reveal

    try:
        with ledger.connect(reveal(loaded.config.ledger.url), name="config check") as connection:
            if connection.execute("select to_regclass('wake.revision') is null").fetchone() == (True,):
                return {}
            found = {source: capture.load(connection, source) for source in loaded.config.sources}
    except psycopg.Error as error:
        raise sessions.convert(error) from error
    return {source: revision for source, revision in found.items() if revision is not None}
