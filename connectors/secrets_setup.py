"""The source's user and password in the file from which Connect reads them."""

from __future__ import annotations

import os
from pathlib import Path

from connectors import connector_config
from connectors.databases import Address
from connectors.steps import Step
from wakestream import secrets_file


def is_ours(path: Path) -> bool:
    """Whether the worker's secrets file is a file on this machine that we can write."""
    return path.is_file() and os.access(path, os.W_OK)


def step(path: Path, source: str, where: Address) -> Step | None:
    """Write user and password where they are not what the file says; None where they are, or the file is not ours."""
    wanted = dict(zip(connector_config.secret_names(source), (where.user, where.password), strict=True))
    if not is_ours(path):
        return None
    found = secrets_file.read_properties(path)
    if all(found.get(name) == value for name, value in wanted.items()):
        return None
    return Step(
        f"write {' and '.join(wanted)} to {path}",
        lambda: secrets_file.write_properties(path, wanted),
        object=f"file {path}",
        effect="none; the worker reads it when a task starts",
    )


def request(path: Path, source: str, where: Address) -> str:
    """What the owner of a secrets file elsewhere must have in it."""
    user, password = connector_config.secret_names(source)
    return (
        f"{path} is not a file that can be written here; on the machine of the Connect worker it must have the lines\n"
        f"  {user}={where.user}\n  {password}=<the password in sources.{source}.capture>"
    )


def remove(path: Path, source: str) -> bool:
    """Remove the source's lines from the file; whether there were any."""
    if not is_ours(path) or not any(name.startswith(f"{source}.") for name in secrets_file.read_properties(path)):
        return False
    secrets_file.remove_properties(path, f"{source}.")
    return True
