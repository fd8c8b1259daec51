from __future__ import annotations

from typing import Annotated

import typer

from cli import options
from cli.options import ConfigOption


def roles(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The source's name in the file.")],
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Print the least-privilege roles of a source as SQL for psql; nothing is changed."""
    from connectors import roles as proposing

    print(proposing.configured(options.load(config), source), end="")
