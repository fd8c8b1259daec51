"""Programs in the ledger, by digest: what a run began with is there when it ends, whatever the file says by then.

Kept are the file's parts that a decision rests on, the prompts, and which revisions were in force. Secrets and
addresses are not: they are taken, by their place in the file, from the file as it is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import psycopg
from pydantic import SecretStr, TypeAdapter, ValidationError

from wakestream import capture
from wakestream.config import Config, Loaded
from wakestream.config.document import Document
from wakestream.errors import ConfigurationError, EventError
from wakestream.program import PARTS, Program, compile_program

ADDRESSES = frozenset({"url", "base_url", "headers"})
"""Settings that may hold a secret without saying so, and that move while what they name stays the same."""

FREE = frozenset({"bind", "choose", "parameters", "conditions", "compute"})
"""Settings whose keys are names of the file's own."""

Place = tuple[str | int, ...]


class _Kept(msgspec.Struct, frozen=True):
    sections: dict[str, Any]
    withheld: list[list[str | int]]


def keep(connection: psycopg.Connection[Any], program: Program) -> None:
    """Store a program unless it is there."""
    sections = program.config.model_dump(mode="json", include=set(PARTS), by_alias=True)
    withheld = list(_withheld(_dump(program.config), ()))
    for place in withheld:
        del _at(sections, place[:-1])[place[-1]]
    connection.execute(
        "insert into wake.program (digest, parts, prompts, revisions) values (%s, %s::jsonb, %s::jsonb, %s::jsonb)"
        " on conflict do nothing",
        (
            program.digest,
            msgspec.json.encode(_Kept(sections, [list(place) for place in withheld])).decode(),
            json.dumps(program.prompts),
            json.dumps(program.revisions),
        ),
    )


def load(connection: psycopg.Connection[Any], digest: str, present: Config) -> Program | None:
    """The program of that digest, with secrets and addresses of the present file; None where none is kept.

    Raises `EventError` when it cannot be made any more.
    """
    row = connection.execute(
        "select parts::text, prompts::text, revisions::text from wake.program where digest = %s", (digest,)
    ).fetchone()
    if row is None:
        return None
    kept, prompts = msgspec.json.decode(row[0], type=_Kept), json.loads(row[1])
    revisions = {source: _revision(connection, source, number) for source, number in json.loads(row[2]).items()}
    try:
        config = _restored(kept, present)
        loaded = Loaded(config, Document(Path(f"program {digest[:12]}"), {}, {(): (0, 0)}))
        made = compile_program(loaded, revisions, hold=True, texts=prompts)
    except (ConfigurationError, ValidationError) as error:
        raise EventError("what the run began with cannot be made any more", detail=str(error)) from error
    return dataclasses.replace(made, digest=digest)


def _revision(connection: psycopg.Connection[Any], source: str, number: int) -> capture.Revision:
    found = capture.load(connection, source, number)
    if found is None:
        raise EventError(f"revision {number} of {source}, under which the run began, is gone")
    return found


def _restored(kept: _Kept, present: Config) -> Config:
    now = _dump(present)
    for place in kept.withheld:
        _at(kept.sections, place[:-1])[place[-1]] = _present(now, place)
    fields = Config.model_fields
    parts = {
        name: TypeAdapter(cast("Any", fields[name].annotation)).validate_python(section)
        for name, section in kept.sections.items()
    }
    return present.model_copy(update=parts)


def _present(now: Mapping[str, Any], place: list[str | int]) -> Any:
    try:
        value = _at(now, place)
    except (LookupError, TypeError):
        value = None
    if value is None:
        name = ".".join(map(str, place))
        raise EventError(f"the run began with `{name}`, which the file does not have any more")
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _dump(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="python", include=set(PARTS), by_alias=True)


def _withheld(node: Any, place: Place) -> Iterator[Place]:
    if isinstance(node, Mapping):
        for name, value in cast("Mapping[str, Any]", node).items():
            if value is not None and (isinstance(value, SecretStr) or name in ADDRESSES):
                yield (*place, name)
            elif name not in FREE:
                yield from _withheld(value, (*place, name))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(cast("list[Any]", node)):
            yield from _withheld(value, (*place, index))


def _at(node: Any, place: Place | list[str | int]) -> Any:
    for part in place:
        node = node[part]
    return node
