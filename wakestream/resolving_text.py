"""Columns that the context store keeps as text though their source compares them otherwise: where SQL may not do so.

An enum is ordered by its labels' places there and by their letters here; to citext `a` and `A` are one value there and
two here. What would silently give another document than the source's is refused, with what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from wakestream.catalogue import Column

_ORDERS = r"<=|>=|<(?!>)|(?<![<=>-])>|\b(?:not\s+)?between\b"
_EQUALS = r"=(?!>)|<>|!=|\b(?:not\s+)?i?like\b|\b(?:not\s+)?in\b|~|\bis\s+(?:not\s+)?distinct\s+from\b"
_SORTING = r"\b(?:max|min|greatest|least)\s*\([^()]*|\border\s+by\s[^()]*"
_GROUPING = r"\bdistinct\s|\bcase\s|\bgroup\s+by\s[^()]*"
_WORDS = {"enum": _SORTING, "citext": f"{_SORTING}|{_GROUPING}"}
_OPERATORS = {"enum": rf"(?:{_ORDERS})", "citext": rf"(?:{_ORDERS}|{_EQUALS})"}
# What may stand before a parenthesis that calls nothing.
_NO_CALL = r"(?:^|[^\w\s)\"]|\b(?:and|or|not|when|then|else|by|where|is|in|between|case)\b)"
_ENDING = r"(?:\s+(?:asc|desc))?(?:\s+nulls\s+(?:first|last))?"


def is_other_text(column: Column) -> bool:
    """Whether its text compares otherwise than the column does."""
    return column.base in _OPERATORS and not column.array


def comparisons(blank: str, columns: Mapping[str, Column], *, order: bool) -> Iterator[tuple[str, int]]:
    """What is wrong in a piece of SQL, with its offset; `columns` by the names under which it may speak of them.

    `blank` is the SQL without its literals. In an `order` each item by itself compares.
    """
    for name, column in columns.items():
        if not is_other_text(column):
            continue
        spelt = r"\s*\.\s*".join(rf'(?:"{re.escape(part)}"|\b{re.escape(part)}\b)' for part in name.split("."))
        before = r"(?<![.\w])" if "." not in name else r"(?<!\w)"
        bare = re.sub(rf"({_NO_CALL}\s*)\((\s*{spelt}\s*)\)", r"\1 \2 ", blank, flags=re.IGNORECASE)
        operators, words = _OPERATORS[column.base], _WORDS[column.base]
        forms = [
            rf"{before}(?P<name>{spelt})\s*{operators}",
            rf"{operators}\s*{before}(?P<name>{spelt})(?!\s*(?:[(.]|::))",
            rf"(?:{words})\s*{before}(?P<name>{spelt})(?!\s*(?:[(.]|::))",
        ]
        if order:
            forms.append(rf"(?:^|,)\s*{before}(?P<name>{spelt}){_ENDING}\s*(?=,|$)")
        for form in forms:
            for match in re.finditer(form, bare, re.IGNORECASE):
                yield _problem(name, column), match.start("name")


def _problem(name: str, column: Column) -> str:
    if column.base == "citext":
        return f"`{name}` is citext, which the store keeps as text, where `a` and `A` differ; compare `lower({name})`"
    labels = ", ".join(f"'{label}'" for label in column.labels[:2])
    return (
        f"`{name}` is an enum, which the store keeps as text and orders by its letters;"
        f" compare `array_position(array[{labels}, …], {name})`"
    )
