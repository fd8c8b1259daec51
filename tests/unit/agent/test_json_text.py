from __future__ import annotations

import json
from decimal import Decimal

import pytest

from agent import json_text
from wakestream.errors import EventError


@pytest.mark.parametrize("text", ["1", "1.10", "12345678901234567890123", "0.10000000000000000555", "1E+400"])
def test_every_digit_stays(text: str) -> None:
    value = json_text.load(text)
    assert json_text.load(json_text.dump(value)) == value
    assert Decimal(json_text.dump(value)) == Decimal(text)


@pytest.mark.parametrize(
    ("value", "stored"),
    [("a\x00b", "ab"), ("\\u0000", "\\u0000"), ("\\\x00", "\\"), ("\\\\u0000\x00", "\\\\u0000"), ("é", "é")],
)
def test_storable_leaves_out_what_jsonb_cannot_hold(value: str, stored: str) -> None:
    text = json_text.storable({"x": value})
    assert text is not None
    assert json.loads(text) == {"x": stored}


def test_storable_none() -> None:
    assert json_text.storable(None) is None


def test_no_event() -> None:
    with pytest.raises(EventError):
        json_text.load_event("{}")
