"""What every part of `wake.yaml` is made of: sections, names, durations, sizes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
"""What the file names itself: lower case, digits and underscores, so that it fits topics, slots and schemas."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> object:
    """Seconds from `90`, `500ms`, `30s`, `15m`, `2h` or `7d`."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", value)
        if match is None:
            raise ValueError(f"`{value}` is not a duration; write 500ms, 30s, 15m, 2h or 7d")
        return float(match[1]) * _UNITS[match[2]]
    return value


Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
"""Seconds."""


class Section(BaseModel):
    """A part of the file: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


_SIZES = {"KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


def parse_size(value: object) -> object:
    """Bytes from `1048576`, `500MB` or `20GB`, in PostgreSQL's units of 1024."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+)\s*(KB|MB|GB|TB)\s*", value, re.IGNORECASE)
        if match is None:
            raise ValueError(f"`{value}` is not a size; write 500MB or 20GB")
        return int(match[1]) * _SIZES[match[2].upper()]
    return value


Size = Annotated[int, BeforeValidator(parse_size)]
"""Bytes."""
