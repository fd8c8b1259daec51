"""The `wake` command: a literal table of subcommands, each imported when it is used and not before."""

from __future__ import annotations

import importlib
import os
import traceback
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from wakestream.errors import ConfigurationError, WakeError

LOCAL = "The local machine"
ATTACH = "Attach to databases"
RUN = "Run"
OPERATE = "See and decide"


class Lazy(NamedTuple):
    """Where a subcommand is, and what `wake --help` says about it."""

    target: str
    """`module:name` of a Typer app or of a command's function."""
    help: str
    panel: str


COMMANDS: dict[str, Lazy] = {
    "stack": Lazy("cli.stack:app", "The local stack: PostgreSQL, Kafka, and Connect with Debezium.", LOCAL),
    "model": Lazy("cli.model:app", "The local model: pull it, serve it.", LOCAL),
    "config": Lazy("cli.config:app", "The configuration file: check it, print its JSON Schema.", ATTACH),
    "init": Lazy("cli.init:init", "Write a first configuration for a database.", ATTACH),
    "plan": Lazy("cli.plan:plan", "What `apply` would do, with its SQL, locks and effects.", ATTACH),
    "doctor": Lazy("cli.doctor:doctor", "What is wrong, said before it hurts, with what mends it.", ATTACH),
    "apply": Lazy("cli.attach:apply", "Make topics, publication, connector and ledger as the file says.", ATTACH),
    "roles": Lazy("cli.roles:roles", "The least-privilege roles of a source, as SQL.", ATTACH),
    "status": Lazy("cli.attach:status", "Connector, slot, lag, consumer and agent.", ATTACH),
    "snapshot": Lazy("cli.snapshot:snapshot", "Read tables again while everything goes on.", ATTACH),
    "repair": Lazy("cli.repair:repair", "Mend a lost slot, lost offsets, a restored database.", ATTACH),
    "detach": Lazy("cli.attach:detach", "Remove what `apply` made at a source.", ATTACH),
    "up": Lazy("cli.up:up", "Consumer, agent and guard together, until Ctrl-C.", RUN),
    "consume": Lazy("cli.consume:consume", "The consumer: change log to context events.", RUN),
    "agent": Lazy("cli.agent:agent", "The agent: context events to runs and actions.", RUN),
    "guard": Lazy("cli.attach:guard", "The guard: restarts what failed for a passing reason.", RUN),
    "events": Lazy("cli.events:app", "Context events as they are published.", OPERATE),
    "context": Lazy("cli.context:app", "The context store: show a row, compare it with the source.", OPERATE),
    "entity": Lazy("cli.entity:app", "Entities: show a document as the agent would see it.", OPERATE),
    "triggers": Lazy("cli.triggers:app", "Triggers: list, pause, resume, release what a breaker held.", OPERATE),
    "runs": Lazy("cli.runs:app", "Runs of agents: list, show, retry.", OPERATE),
    "actions": Lazy("cli.actions:app", "Actions: list, show, approve, edit, reject, retry, undo.", OPERATE),
    "letters": Lazy("cli.letters:app", "Dead letters: list, show, retry, discard.", OPERATE),
    "why": Lazy("cli.why:why", "What a change or a key led to, and why nothing more.", OPERATE),
    "operator": Lazy("cli.operators:app", "People and their tokens: add, list, revoke.", OPERATE),
}


def load(name: str) -> TyperCommand | TyperGroup:
    """Import a command.

    Raises `ConfigurationError` when it needs a package that is not installed.
    """
    module, _, attribute = COMMANDS[name].target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"`wake {name}` needs the module {error.name}, which is not installed: "
            "install wakestream with its extras, `wakestream[local]`"
        ) from error
    if isinstance(found, typer.Typer):
        return get_group(found)
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name)(found)
    return cast("TyperCommand", get_command(single))


class Wake(TyperGroup):
    """The group of all commands: mounts them lazily and turns our errors into exit codes."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for name, lazy in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=lazy.help, rich_help_panel=lazy.panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is to run, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load(name), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; one line on stderr for each problem of ours, a traceback only with `--debug`."""
        try:
            return super().invoke(ctx)
        except WakeError as error:
            if ctx.params.get("debug"):
                traceback.print_exception(error)
            for line in str(error).splitlines() or [type(error).__name__]:
                typer.echo(line, err=True)
            raise typer.Exit(2 if isinstance(error, ConfigurationError) else 1) from error


app = typer.Typer(name="wake", cls=Wake, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _wake(  # pyright: ignore[reportUnusedFunction] - registered by the decorator
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="The configuration; default ./wake.yaml, or WAKE_CONFIG."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Row changes in PostgreSQL wake an LLM agent, and people see, steer and answer for what it does."""
    if config is not None:
        # Every command, and every process that `up` starts, takes its default from there.
        os.environ["WAKE_CONFIG"] = str(config)


def main() -> None:
    """The entry point of the `wake` command."""
    app(prog_name="wake")


if __name__ == "__main__":
    main()
