"""The `:name` placeholders of configured SQL: finding them, and handing the statement to psycopg safely."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import LiteralString, cast

# What may contain a colon that is no placeholder stands first, so that it is passed over whole.
_TOKEN = re.compile(
    r"""
      (?P<escaped>\b[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<text>'(?:[^']|'')*')
    | (?P<identifier>"(?:[^"]|"")*")
    | (?P<dollar>\$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?\$(?P=tag)\$)
    | (?P<line>--[^\n]*)
    | (?P<block>/\*)
    | (?P<cast>::|:=)
    | :(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def placeholders(statement: str) -> dict[str, int]:
    """The names, each with the offset at which it first stands."""
    found: dict[str, int] = {}
    for start, _, name in _names(statement):
        found.setdefault(name, start)
    return found


def to_psycopg(statement: str) -> LiteralString:
    """The statement with `%(name)s` for `:name` and every other `%` doubled."""
    parts, at = list[str](), 0
    for start, end, name in _names(statement):
        parts += [statement[at:start].replace("%", "%%"), f"%({name})s"]
        at = end
    # The text is the configuration's, written by whoever owns the database's credentials; values never enter it.
    return cast("LiteralString", "".join([*parts, statement[at:].replace("%", "%%")]))


def place_in(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from one, of a character of a text."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def _names(statement: str) -> Iterator[tuple[int, int, str]]:
    at = 0
    while match := _TOKEN.search(statement, at):
        at = _after_comment(statement, match.end()) if match["block"] else match.end()
        if match["name"]:
            yield match.start(), match.end(), match["name"]


def _after_comment(statement: str, at: int) -> int:
    """Where a block comment ends; PostgreSQL's nest."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(statement, at)):
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return at if not depth else len(statement)
