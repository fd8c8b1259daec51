from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli import main
from connectors import status
from console import views

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "commands.md").read_text()
SECTIONS = {title: body for title, body in re.findall(r"^### (.*)\n((?:(?!^##).*\n)*)", PAGE, re.MULTILINE)}
RECORDS = [
    each
    for each in vars(views).values()
    if isinstance(each, type) and issubclass(each, views.View) and each != views.View
]


def named(text: str) -> list[str]:
    return re.findall(r"`([^`]*)`", text)


def commands() -> Iterator[str]:
    """Every command, by the words it is called with."""
    for name, lazy in main.COMMANDS.items():
        subcommands = getattr(main.load(name), "commands", {}) if lazy.target.endswith(":app") else {}
        yield from (f"wake {name} {each}" for each in subcommands) if subcommands else [f"wake {name}"]


def parameters(words: str) -> list[Any]:
    _, name, *rest = words.split()
    command: Any = main.load(name)
    return (command.commands[rest[0]] if rest else command).params


STATUS = [
    each
    for module in (status, status.ledger_status, status.hops, status.slot, status.spending)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, msgspec.Struct) and each.__name__ in SECTIONS
]


OPERATORS = [name for name, lazy in main.COMMANDS.items() if lazy.panel == main.OPERATE]


def test_every_command_has_its_heading_and_no_heading_lacks_its_command() -> None:
    headings = {" ".join(re.findall(r"\b[a-z]+", each)) for title in SECTIONS for each in named(title)}
    assert headings == set(commands())


@pytest.mark.parametrize("command", [each for each in commands() if each.split()[1] in OPERATORS])
def test_every_option_of_an_operators_command_is_named(command: str) -> None:
    (section,) = [body for title, body in SECTIONS.items() if title.startswith(f"`{command}")]
    general = {"--help", "--config", "--json", "--yes"}
    options = {flag for each in parameters(command) for flag in each.opts if flag.startswith("--")} - general
    assert {flag for flag in options if f"`{flag}" not in section} == set()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_key_of_every_record_is_named(record: type[msgspec.Struct]) -> None:
    section = SECTIONS[record.__name__]
    inherited = {key for parent in record.__mro__[1:] if parent in RECORDS for key in parent.__struct_fields__}
    keys = set(record.__struct_fields__) - inherited
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    found = {key for row in rows for key in named(row)} or set(named(section))
    assert keys <= found
    if rows:
        assert found == keys
    for parent in record.__mro__[1:]:
        if parent in RECORDS:
            assert f"[{parent.__name__}](#{parent.__name__.lower()})" in section
            break


@pytest.mark.parametrize("record", STATUS, ids=lambda record: record.__name__)
def test_every_key_of_the_status_is_named(record: type[msgspec.Struct]) -> None:
    assert set(record.__struct_fields__) <= set(named(SECTIONS[record.__name__]))


def test_the_status_has_no_record_without_a_heading() -> None:
    wanted, seen = [status.SourceStatus], set[type[msgspec.Struct]]()
    while wanted:
        seen.add(record := wanted.pop())
        fields = msgspec.inspect.type_info(record)
        assert isinstance(fields, msgspec.inspect.StructType)
        wanted += [each for field in fields.fields for each in _records(field.type) if each not in seen]
    assert {each.__name__ for each in seen} <= set(SECTIONS)


def _records(kind: msgspec.inspect.Type) -> Iterator[type[msgspec.Struct]]:
    match kind:
        case msgspec.inspect.StructType(cls=cls):
            yield cls
        case msgspec.inspect.UnionType(types=types):
            for each in types:
                yield from _records(each)
        case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.DictType(value_type=item):
            yield from _records(item)
        case _:
            pass


def test_every_state_is_named() -> None:
    from wakestream import states

    for record, known in (("RunRow", states.RUN), ("ActionRow", states.ACTION), ("ActivationRow", states.ACTIVATION)):
        assert set(known) <= set(named(SECTIONS[record]))
