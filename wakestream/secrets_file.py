"""The properties file from which Kafka Connect's file config provider takes passwords."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from wakestream import directory_lock

_NAMED = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
_UNNAMED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_CONTINUED = re.compile(r"(?<!\\)(?:\\\\)*\\$")
_KEY_AND_VALUE = re.compile(r"((?:\\.|[^\\=:\s])*)\s*[=:]?\s*(.*)", re.DOTALL)


def read_properties(path: Path) -> dict[str, str]:
    """Return what the file holds, as Java's `Properties.load` reads it; nothing where there is no file."""
    return {key: value for key, value, _ in _entries(path) if key is not None}


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Set these properties and keep every other line. The file changes in one step and only its owner can read it."""
    with _locked(path):
        kept = [line for key, _, line in _entries(path) if key not in properties]
        _replace(path, kept + [f"{_escape(key)}={_escape(value)}" for key, value in properties.items()])


def remove_properties(path: Path, prefix: str) -> None:
    """Remove every property whose name starts with `prefix`."""
    if not path.exists():
        return
    with _locked(path):
        _replace(path, [line for key, _, line in _entries(path) if key is None or not key.startswith(prefix)])


@contextmanager
def _locked(path: Path) -> Generator[None]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with directory_lock.held(path.parent):
        yield


def _replace(path: Path, lines: list[str]) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _entries(path: Path) -> Iterator[tuple[str | None, str, str]]:
    """Yield key, value and the line as it stands; the key is None for comments and blank lines."""
    for line in _logical_lines(path):
        text = re.sub(r"\\\r?\n\s*", "", line).lstrip(" \t\f")
        if not text or text[0] in "#!":
            yield None, "", line
        elif match := _KEY_AND_VALUE.fullmatch(text):
            yield _unescape(match[1]), _unescape(match[2]), line


def _logical_lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    pending: list[str] = []
    for line in text.removesuffix("\n").split("\n") if text else []:
        pending.append(line)
        comment = len(pending) == 1 and line.lstrip(" \t\f")[:1] in ("#", "!")
        if comment or not _CONTINUED.search(line):
            yield "\n".join(pending)
            pending = []
    if pending:
        yield "\n".join(pending)


def _escape(text: str) -> str:
    return "".join(_escape_character(character) for character in text)


def _escape_character(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    if character in "\\=:#! ":
        return f"\\{character}"
    if " " < character <= "~":
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _unescape(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else _UNNAMED.get(match[2], match[2])

    # Characters beyond 16 bits stand as two escapes; together they are one character again.
    return _ESCAPE.sub(plain, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
