"""Finds what every name in an expression stands for, and refuses those that stand for nothing or may not be read here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from wakestream import condition_problems
from wakestream.cel_tree import Call, Constant, Listing, Loop, Name, Select, Tree
from wakestream.condition_problems import ConditionProblem, english
from wakestream.condition_scope import Document, ListOf, Node, Scalar, Scope

EACH = None
"""The step from a list to its elements."""
Step = str | None
Path = tuple[str, ...]

_TYPE_NAMES = frozenset({"bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"})
_KNOWN_ROOTS = frozenset(
    {
        *("after", "before", "key", "changed", "op", "cause", "inserted", "updated", "deleted", "now"),
        *("bound", "chosen", "event", "run", "args"),
    },
)
_COMPARING = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_-_", "@in"})


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


def read(text: str, tree: Tree, scope: Scope, roots: Collection[str], where: str) -> Reading:
    """Resolve every name of an expression; what is wrong is listed in `problems`."""
    resolver = _Resolver(text, scope, roots, where)
    found = resolver.resolve(tree, {})
    resolver.reading.plain = found if _is_path(tree) else None
    if found and not resolver.reading.plain:
        resolver.use(tree, found)
    return resolver.reading


def problems(text: str, reading: Reading) -> list[ConditionProblem]:
    """What `read` found wrong, with its places."""
    return [condition_problems.problem_at(text, *problem) for problem in sorted(set(reading.problems))]


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


def _is_path(tree: Tree) -> bool:
    while isinstance(tree, Select) and not tree.test_only:
        tree = tree.operand
    return isinstance(tree, Name)


_Loops = Mapping[str, Found | None]


class _Resolver:
    def __init__(self, text: str, scope: Scope, roots: Collection[str], where: str) -> None:
        self.reading = Reading()
        self._text = text
        self._scope = scope
        self._roots = roots
        self._where = where

    def resolve(self, tree: Tree, loops: _Loops) -> Found | None:
        """What a part stands for, or None if it is worked out or unknown."""
        match tree:
            case Constant():
                return None
            case Name():
                return self._name(tree, loops)
            case Select():
                return self._select(tree, loops)
            case Call():
                return self._call(tree, loops)
            case Listing():
                return self._listing(tree, loops)
            case Loop():
                return self._loop(tree, loops)

    def use(self, tree: Tree, found: Found | None) -> None:
        """Note that the value itself is needed, not only something inside it."""
        if found is None:
            return
        if found.whole:
            name = ".".join(found.path)
            first = next(iter(found.node.fields), "…") if isinstance(found.node, Document) else "…"
            self._problem(tree, f"{name} is a whole row: name a column, as in {name}.{first}, or compare with null")
            return
        if found.alias:
            self.reading.aliases[found.alias] = type_of(found.node, inside=True)
        self._access(found)

    def _access(self, found: Found) -> None:
        self.reading.variables[found.path] = self._node_at(found.path)
        self.reading.accesses[found.path, found.steps] = None

    def _node_at(self, path: Path) -> Node:
        node: Node = self._scope.roots[path[0]]
        for name in path[1:]:
            assert isinstance(node, Document)  # noqa: S101 - a narrowing: paths are made along documents
            node = node.fields[name]
        return node

    def _value(self, tree: Tree, loops: _Loops) -> Found | None:
        found = self.resolve(tree, loops)
        self.use(tree, found)
        return found

    def _problem(self, tree: Tree, message: str, suggestion: str = "") -> None:
        self.reading.problems.append((_start(tree), message, suggestion))

    def _name(self, tree: Name, loops: _Loops) -> Found | None:
        name = tree.name
        if name in loops:
            return loops[name]
        if name in self._roots and name in self._scope.roots:
            return Found(self._scope.roots[name], (name,))
        if name.startswith("@") or name in _TYPE_NAMES:
            return None
        self._problem(tree, *self._unknown_root(name))
        return None

    def _unknown_root(self, name: str) -> tuple[str, str]:
        allowed = [root for root in self._scope.roots if root in self._roots]
        if name == "args" and name in self._scope.roots:
            what = "args is what the model wrote, and is read only with trust_model_arguments: true"
            return f"{self._where} reads {english(allowed)} only; {what}", ""
        if name in _KNOWN_ROOTS:
            return f"{self._where} reads {english(allowed)} only; {name} is not available", ""
        columns = (f"{root}.{name}" for root in allowed if name in _names(self._scope.roots[root]))
        meant = next(columns, None) or condition_problems.nearest(name, allowed)
        if meant:
            return f"{name}: no such name; did you mean {meant}?", meant
        return f"{name}: no such name; {self._where} reads {english(allowed)}", ""

    def _select(self, tree: Select, loops: _Loops) -> Found | None:
        operand = self.resolve(tree.operand, loops)
        if operand is None:
            return None
        if tree.test_only and isinstance(operand.node, Document):
            path = f"{condition_problems.spelling(tree.operand)}.{tree.field}"
            self._problem(tree, f"has({path}): it is always there, if only as null; write {path} != null", f"{path} != null")
            return None
        if isinstance(operand.node, Document):
            return self._field(tree, operand, operand.node, loops)
        if isinstance(operand.node, Scalar) and operand.node.kind == "json" and not operand.node.array:
            self.use(tree.operand, operand)
            below = operand if tree.test_only else replace(operand, steps=(*operand.steps, tree.field), inside=True)
            self._access(below)
            return below
        what = "a list: use exists, all, filter or [0]" if _is_list(operand.node) else "one value and has no fields"
        self._problem(tree, f"{condition_problems.spelling(tree.operand) or 'this'} is {what}")
        return None

    def _field(self, tree: Select, operand: Found, document: Document, loops: _Loops) -> Found | None:
        node = document.fields.get(tree.field)
        if node is None:
            self._problem(tree, *_unknown_field(condition_problems.spelling(tree.operand), tree.field, document))
            return None
        if not operand.inside:
            return Found(node, (*operand.path, tree.field))
        if isinstance(tree.operand, Name) and operand.alias and loops.get(tree.operand.name) is operand:
            self.reading.edits.append((tree.operand.offset, len(tree.operand.name), operand.alias))
        alias = operand.alias and f"{operand.alias}.{tree.field}"
        return replace(operand, node=node, steps=(*operand.steps, tree.field), alias=alias)

    def _call(self, tree: Call, loops: _Loops) -> Found | None:
        if tree.function in ("_==_", "_!=_") and any(_is_null(arg) for arg in tree.args):
            self._compare_with_null(tree, loops)
            return None
        if tree.function == "_[_]":
            return self._index(tree, loops)
        found = [self._value(arg, loops) for arg in tree.args]
        if tree.function in _COMPARING:
            for arg, one in zip(tree.args, found, strict=True):
                self._refuse_bare_timestamp(arg, one)
        return next((one for one in found[1:] if one), None) if tree.function == "_?_:_" else None

    def _compare_with_null(self, tree: Call, loops: _Loops) -> None:
        for arg, other in (tree.args, tree.args[::-1]):
            found = self.resolve(arg, loops)
            if found is None:
                continue
            if found.whole:
                self._access(found)
                continue
            self.use(arg, found)
            if _is_null(other) and (_is_list(found.node) or isinstance(found.node, Document)):
                self.reading.edits.append((_start(other), len("null"), "dyn(null)"))

    def _refuse_bare_timestamp(self, tree: Tree, found: Found | None) -> None:
        if found is None or not found.inside or not isinstance(found.node, Scalar):
            return
        if found.node.kind == "timestamp" and not found.node.array:
            name = condition_problems.spelling(tree) or "…"
            right = f"timestamp({name})"
            self._problem(tree, f"{name} is inside a list, where timestamps are ISO text: write {right}", right)

    def _index(self, tree: Call, loops: _Loops) -> Found | None:
        operand, index = self.resolve(tree.args[0], loops), tree.args[1]
        self._value(index, loops)
        if operand and isinstance(operand.node, Document):
            name = condition_problems.spelling(tree.args[0]) or "…"
            wanted = index.value if isinstance(index, Constant) and isinstance(index.value, str) else "…"
            self._problem(tree.args[0], f"{name}[…]: write {name}.{wanted}", f"{name}.{wanted}")
            return None
        self.use(tree.args[0], operand)
        if operand and not _is_list(operand.node) and isinstance(index, Constant) and isinstance(index.value, str):
            below = replace(operand, steps=(*operand.steps, index.value), inside=True)
            self._access(below)
            return below
        return _element(operand)

    def _listing(self, tree: Listing, loops: _Loops) -> Found | None:
        found = [self._value(element, loops) for element in tree.elements]
        first = next((one for one in found if one and isinstance(one.node, Document)), None)
        if tree.map or first is None or not isinstance(first.node, Document):
            return None
        return replace(first, node=ListOf(first.node), steps=first.steps[:-1], inside=True, alias="")

    def _loop(self, tree: Loop, loops: _Loops) -> Found | None:
        if tree.variable in _KNOWN_ROOTS or tree.variable in self._scope.roots:
            self._problem(tree, f"{tree.variable} cannot be the name of a loop variable: choose another")
            return None
        over = self._value(tree.over, loops)
        element = _element(over)
        if element and isinstance(element.node, Document):
            element = replace(element, alias=f"element__{len(self.reading.edits)}_{tree.offset}")
        inner = {**loops, tree.variable: element, tree.accumulator: None}
        for part in (tree.initial, tree.condition):
            self._value(part, inner)
        made = self._step(tree.step, inner)
        self._value(tree.result, inner)
        return made

    def _step(self, tree: Tree, loops: _Loops) -> Found | None:
        """A macro's step; `filter` and `map` build a list in it, whose elements may be documents."""
        if isinstance(tree, Call) and tree.function in ("_?_:_", "_+_"):
            made = [self._step(arg, loops) for arg in tree.args]
            return next((one for one in made if one and isinstance(one.node, ListOf)), None)
        return self._value(tree, loops)


def _start(tree: Tree) -> int:
    """Where a part begins; the offset of a path or an operator is that of its middle."""
    while isinstance(tree, Select):
        tree = tree.operand
    return tree.offset


def _is_null(tree: Tree) -> bool:
    return isinstance(tree, Constant) and tree.value is None


def _is_list(node: Node) -> bool:
    return isinstance(node, ListOf) or (isinstance(node, Scalar) and node.array)


def _names(node: Node) -> Collection[str]:
    return node.fields if isinstance(node, Document) else ()


def _element(found: Found | None) -> Found | None:
    if found is None:
        return None
    if isinstance(found.node, ListOf):
        node: Node = found.node.element
    elif isinstance(found.node, Scalar) and (found.node.array or found.node.kind == "json"):
        node = Scalar(found.node.base)
    else:
        return None
    return replace(found, node=node, steps=(*found.steps, EACH), inside=True, alias="")


def _unknown_field(operand: str | None, name: str, document: Document) -> tuple[str, str]:
    prefix = f"{operand}." if operand else ""
    if name in document.withheld:
        return f"{prefix}{name}: excluded or masked in {document.label}, so it cannot be read here", ""
    kind = "column" if "." in document.label else "field"
    what = f"{prefix}{name}: no such {kind} in {document.label}"
    if near := condition_problems.nearest(name, document.fields):
        return f"{what}; did you mean {prefix}{near}?", f"{prefix}{near}"
    known = ", ".join(list(document.fields)[:8]) + (", …" if len(document.fields) > 8 else "")
    return f"{what}; it has {known}", ""
