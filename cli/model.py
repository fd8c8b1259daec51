from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="A real language model on this machine.", no_args_is_help=True)

HomeOption = Annotated[Path, typer.Option("--home", envvar="WAKE_HOME", help="State directory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DEFAULT_HOME = Path(".wake")


@app.command()
def pull() -> None:
    """Fetch the model (1.1 GB, once); an interrupted pull goes on where it stopped."""
    from localstack import model

    with _progress(model.DEFAULT.name) as progress:
        path = model.pull(progress)
    print(path)


@app.command()
def serve(
    port: Annotated[int | None, typer.Option(help="Port on 127.0.0.1; a free one is chosen and kept.")] = None,
    background: Annotated[bool, typer.Option("--background/--foreground", help="Return once up, or stay.")] = True,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Serve the model over HTTP, as any OpenAI-compatible server does."""
    from localstack.model_server import ModelServer

    server = ModelServer(home)
    if not background:
        server.become(port)
    print(server.serve(port))


@app.command()
def stop(home: HomeOption = DEFAULT_HOME) -> None:
    """Stop the server."""
    from localstack.model_server import ModelServer

    print("model: stopped" if ModelServer(home).stop() else "model: was not served")


@app.command()
def status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show whether the model is here and where it is served; exit 1 unless it answers."""
    from localstack import model
    from localstack.model_server import ModelServer

    server = ModelServer(home)
    url, process = server.url(), server.process()
    reason = server.check() if url else "not served"
    document = {
        "model": model.DEFAULT.name,
        "pulled": model.is_pulled(),
        "url": url,
        "pid": process.pid if process else None,
        "reason": reason,
        "log": str(server.log),
    }
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        for name, value in document.items():
            print(f"{name:<7} {'–' if value is None else value}")
    if reason:
        raise typer.Exit(1)


@contextmanager
def _progress(name: str) -> Generator[Callable[[int, int], None]]:
    """A bar on a terminal; elsewhere a line for each tenth."""
    if not sys.stdout.isatty():
        yield _Tenths(name)
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(name)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Tenths:
    """Prints progress as plain lines."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said = -1

    def __call__(self, done: int, total: int) -> None:
        tenth = done * 10 // total
        if tenth > self._said:
            self._said = tenth
            print(f"{self._name}: {tenth * 10} % of {total / 1e9:.1f} GB", flush=True)
