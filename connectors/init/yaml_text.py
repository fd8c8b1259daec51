"""Names as YAML: plain where that is safe everywhere, else in double quotes; and in values no variable by accident."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_VARIABLE = re.compile(r"\$\$?\{[A-Za-z_][A-Za-z0-9_]*(?::-[^}]*)?\}")


def key(name: str) -> str:
    """A name as a key, in which the file fills in no variables; also fit for a comment."""
    if _PLAIN.fullmatch(name) and name.lower() not in _WORDS:
        return name
    return visible(json.dumps(name, ensure_ascii=False))


def value(text: str) -> str:
    """A name or an expression as a value."""
    return key(_VARIABLE.sub(lambda found: f"${found[0]}", text))


def expression(text: str) -> str:
    """A condition as the value of a key of its own line: without quotes where YAML lets it stand."""
    plain = (
        re.fullmatch(r"[a-z][\w .=!<>&|()']*", text, re.ASCII) and text == text.strip() and text.lower() not in _WORDS
    )
    return text if plain else value(text)


def values(names: Iterable[str]) -> str:
    """A list on one line."""
    return f"[{', '.join(map(value, names))}]"


def visible(text: str) -> str:
    """Text on one line, as a comment or between double quotes, with nothing in it that does not show."""
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    """What YAML does not allow as it is, or an editor would not show."""
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
