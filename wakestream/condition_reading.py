"""What an expression reads, as the result of resolving its names, and the text under which its types are checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from wakestream.condition_scope import Document, ListOf, Node

EACH = None
"""The step from a list to its elements."""
Step = str | None
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a part of the expression stands for."""

    node: Node
    path: Path
    """Of the variable in which it is."""
    steps: tuple[Step, ...] = ()
    """From that variable on, inside a list or a JSON value."""
    inside: bool = False
    """Inside a list or a JSON value: no variable of its own."""
    alias: str = ""
    """The name under which the type check knows a list element's field."""
    made: bool = False
    """A list that `filter` or `map` made, whose `steps` are those of its elements."""

    @property
    def whole(self) -> bool:
        """A row or member as such; at run time only its columns exist as variables."""
        return isinstance(self.node, Document) and not self.inside


@dataclass(slots=True)
class Reading:
    """All that an expression reads, and how to have it type-checked."""

    variables: dict[Path, Node] = field(default_factory=dict[Path, Node])
    accesses: dict[tuple[Path, tuple[Step, ...]], None] = field(
        default_factory=dict[tuple[Path, tuple[Step, ...]], None],
    )
    """Every value it looks at, to tell which of them was null; in order, without doubles."""
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    """Further variables of the type check, with their types."""
    edits: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    """Offset, length and replacement: the text that is type-checked differs there."""
    problems: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])
    """Offset, message, suggestion."""
    plain: Found | None = None
    """What it is, where the whole expression is one path."""


def type_of(node: Node, *, inside: bool = False) -> str:
    """The type under which the engine checks a variable."""
    if isinstance(node, Document):
        return "dyn"
    if isinstance(node, ListOf):
        return "list<dyn>"
    kind = {"json": "dyn", "timestamp": "text" if inside or node.array else "timestamp"}.get(node.kind, node.kind)
    return f"list<{kind}>" if node.array else kind


def checked_text(text: str, reading: Reading) -> str:
    """The text to be type-checked: fields of list elements under names of their own, so that they have types."""
    parts, at = list[str](), 0
    for offset, length, replacement in sorted(reading.edits):
        parts += [text[at:offset], replacement]
        at = offset + length
    return "".join([*parts, text[at:]])


def original_offset(reading: Reading, offset: int) -> int:
    """A place in the checked text as one in the text that was written."""
    for start, length, replacement in sorted(reading.edits):
        if offset <= start:
            break
        offset -= min(len(replacement) - length, offset - start)
    return offset
