from __future__ import annotations

import typing
from pathlib import Path

import pytest
from pydantic import BaseModel

from wakestream.config import actions, lookups, models, servers
from wakestream.config.sections import Section

PAGE = (Path(__file__).parents[3] / "docs/reference/configuration.md").read_text()


def settings(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def sections() -> list[type[BaseModel]]:
    named = {name: each for part in (models, actions, lookups, servers) for name, each in vars(part).items()}
    found = [each for each in named.values() if isinstance(each, type) and issubclass(each, Section)]
    return [each for each in found if each not in (Section, actions.ActionSection)]


@pytest.mark.parametrize("section", sections(), ids=lambda each: each.__name__)
def test_every_setting_is_on_the_page(section: type[BaseModel]) -> None:
    missing = [name for name in settings(section) if f"`{name}" not in PAGE and f".{name}`" not in PAGE]
    assert missing == []


def test_every_section_of_the_file_has_a_heading() -> None:
    for name, field in models.Config.model_fields.items():
        named = typing.get_origin(field.annotation) is dict
        assert f"## `{name}.NAME`" in PAGE if named else f"## `{name}`" in PAGE
