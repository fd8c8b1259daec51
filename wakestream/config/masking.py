"""Masks as the file names them: by a word, and those that keep a number of characters with that number."""

from __future__ import annotations

from typing import Annotated, cast

from pydantic import BeforeValidator, WithJsonSchema

MASKS = ("hash", "redact", "email", "last4")
_MASK_SCHEMA = {
    "anyOf": [
        {"enum": list(MASKS)},
        {
            "type": "object",
            "properties": {"truncate": {"type": "integer", "minimum": 1}},
            "required": ["truncate"],
            "additionalProperties": False,
        },
    ]
}


def parse_mask(value: object) -> object:
    """A mask's name, and of one that keeps some characters how many: `truncate:3` from `{truncate: 3}`."""
    if value in MASKS:
        return value
    if isinstance(value, dict):
        fields = cast("dict[object, object]", value)
        kept = fields.get("truncate")
        if len(fields) == 1 and type(kept) is int and kept > 0:
            return f"truncate:{kept}"
    raise ValueError(f"`{value}` is no mask; write {', '.join(MASKS)}, or {{truncate: 3}}")


Mask = Annotated[str, BeforeValidator(parse_mask), WithJsonSchema(_MASK_SCHEMA)]
