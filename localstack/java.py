"""How the two Java servers are started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from localstack import jars, requirements
from localstack.home import Home
from localstack.processes import Command

LOGGING = Path(__file__).with_name("log4j2.properties")


def write_properties(path: Path, settings: Mapping[str, str]) -> None:
    """Write a server's settings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


def marker(home: Home, name: str) -> str:
    """Return the argument by which the server's process is known."""
    return f"-Dwake.process={home.path / name}"


def arguments(heap: str) -> list[str]:
    """Return what stands before the main class."""
    options = [f"-Xmx{heap}", "-XX:+UseSerialGC", "-Xshare:auto", f"-Dlog4j2.configurationFile={LOGGING}"]
    return [requirements.find_java(), *options, "-cp", jars.locate().class_path]


def command(home: Home, name: str, heap: str, main: list[str]) -> Command:
    """Return the command of a server; `main` is its class and arguments."""
    program, *options = arguments(heap)
    return Command(argv=[program, marker(home, name), *options, *main], cwd=home.path / name)
