from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import ConfigOption, JsonOption, YesOption

if TYPE_CHECKING:
    from cli import output
    from console import views

app = typer.Typer(help="People who may decide, and their tokens.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who it is; decisions bear this name.")]


@app.command()
def add(name: Name, as_json: JsonOption = False, config: ConfigOption = options.DEFAULT_CONFIG) -> None:
    """Make an operator and print their token, once."""
    from cli import output

    token = options.operations(config).add_operator(name)
    if as_json:
        print(output.compact({"name": name, "token": token}))
        return
    typer.echo(f"{name}'s token, shown only now; they export it as WAKE_TOKEN:", err=True)
    print(token)


@app.command("list")
def list_operators(as_json: JsonOption = False, config: ConfigOption = options.DEFAULT_CONFIG) -> None:
    """List operators, revoked ones too."""
    from cli import output

    found = options.insights(config).operators()
    output.rows(found, _columns(), as_json=as_json, empty="nobody yet; `wake operator add NAME`")


@app.command()
def revoke(
    name: Name, yes: YesOption = False, as_json: JsonOption = False, config: ConfigOption = options.DEFAULT_CONFIG
) -> None:
    """Make an operator's token worthless from now on."""
    from cli import output

    operations = options.operations(config)
    options.confirm(f"Revoke the token of {name}?", yes)
    operations.revoke_operator(name)
    print(output.compact({"name": name, "state": "revoked"}) if as_json else f"{name} is revoked")


def _columns() -> output.Columns[views.OperatorRow]:
    return {
        "NAME": lambda operator: operator.name,
        "STATE": lambda operator: "revoked" if operator.revoked_at else "active",
        "CREATED": lambda operator: operator.created_at,
        "REVOKED": lambda operator: operator.revoked_at,
    }
