"""The files that are written, each only where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from connectors.init import document
from connectors.init.proposal import Proposal
from wakestream.errors import ConfigurationError

ROLES = "roles.sql"

_PROMPT = """\
You watch over `{entity}` in the database of `{source}`. What follows is one of them, as it is now.
{{{{ event.subject }}}} has changed{changed}.
If a person should hear of it, propose notify with one or two sentences: what happened, to what, and why it matters.
If nobody needs to hear of it, propose nothing.
"""


def new_files(proposal: Proposal, roles: str, output: Path) -> dict[Path, str]:
    """What is to be written where: the configuration, the roles' SQL, and the prompt unless there is one already.

    Raises `ConfigurationError` where that would overwrite a file.
    """
    prompt = prompt_path(proposal, output)
    files = {output: document.render(proposal), output.parent / ROLES: roles}
    taken = [path for path in files if path.exists()]
    if taken:
        listed = " and ".join(map(str, taken))
        raise ConfigurationError(f"{listed}: exists and is not overwritten; move it away, or choose another --output")
    return files if prompt.exists() else {**files, prompt: _prompt(proposal)}


def prompt_path(proposal: Proposal, output: Path) -> Path:
    """Where the first agent's prompt is, beside the configuration."""
    return output.parent / "prompts" / f"{proposal.agent}.md"


def write(files: Mapping[Path, str]) -> None:
    """Write them; a file that has appeared in the meantime is left as it is."""
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise ConfigurationError(f"{path}: exists and is not overwritten") from None


def _prompt(proposal: Proposal) -> str:
    column = proposal.trigger.column
    plain = column is not None and column.isidentifier() and column.isascii()
    changed = f": {column} is {{{{ after.{column} }}}} now" if plain else ""
    return _PROMPT.format(entity=proposal.entity.name, source=proposal.source, changed=changed)
