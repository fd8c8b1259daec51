"""Finds what every name in an expression stands for; refuses those that stand for nothing or may not be read here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from wakestream import condition_problems
from wakestream.cel_tree import Call, Constant, Listing, Loop, Name, Select, Tree
from wakestream.condition_problems import ConditionProblem, english
from wakestream.condition_reading import EACH, Found, Path, Reading, type_of
from wakestream.condition_scope import Document, ListOf, Node, Scalar, Scope

_TYPE_NAMES = frozenset({"bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"})
_KNOWN_ROOTS = frozenset(
    {
        *("after", "before", "key", "changed", "op", "cause", "inserted", "updated", "deleted", "now"),
        *("bound", "chosen", "event", "run", "args"),
    },
)
_DECIDING = frozenset({"_&&_", "_||_", "!_"})
_COMPARING = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_-_", "@in"})


def read(tree: Tree, scope: Scope, roots: Collection[str], where: str, *, plain: bool) -> Reading:
    """Resolve every name of an expression; what is wrong is listed in `problems`.

    With `plain` an expression that is one path is only resolved, so it may also be a whole row.
    """
    resolver = _Resolver(scope, roots, where)
    found = resolver.resolve(tree, {})
    if plain and _is_path(tree):
        resolver.reading.plain = found
    else:
        resolver.use(tree, found)
    return resolver.reading


def problems(text: str, reading: Reading) -> list[ConditionProblem]:
    """What `read` found wrong, with its places."""
    return [condition_problems.problem_at(text, *problem) for problem in sorted(set(reading.problems))]


def _is_path(tree: Tree) -> bool:
    while isinstance(tree, Select) and not tree.test_only:
        tree = tree.operand
    return isinstance(tree, Name)


_Loops = Mapping[str, Found | None]


class _Resolver:
    def __init__(self, scope: Scope, roots: Collection[str], where: str) -> None:
        self.reading = Reading()
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
            self._refuse_row(tree, found)
            return
        if found.alias:
            self.reading.aliases[found.alias] = type_of(found.node, inside=True)
        self._access(found)

    def _refuse_row(self, tree: Tree, found: Found) -> None:
        name = condition_problems.spelling(tree) or "this"
        first = next(iter(found.node.fields), "…") if isinstance(found.node, Document) else "…"
        self._problem(tree, f"{name} is a whole row: name a column, as in {name}.{first}, or compare with null")

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

    def _problem(self, tree: Tree, message: str, suggestion: str = "", *, offset: int | None = None) -> None:
        self.reading.problems.append((_start(tree) if offset is None else offset, message, suggestion))

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
            right = f"{path} != null"
            self._problem(tree.operand, f"has({path}): it is always there, if only as null; write {right}", right)
            return None
        if isinstance(operand.node, Document):
            return self._field(tree, operand, operand.node, loops)
        if isinstance(operand.node, Scalar) and operand.node.kind == "json" and not operand.node.array:
            self.use(tree.operand, operand)
            return None if tree.test_only else self._below(operand, tree.field)
        what = "a list: use exists, all, filter or [0]" if _is_list(operand.node) else "one value and has no fields"
        self._problem(tree, f"{condition_problems.spelling(tree.operand) or 'this'} is {what}")
        return None

    def _field(self, tree: Select, operand: Found, document: Document, loops: _Loops) -> Found | None:
        node = document.fields.get(tree.field)
        if node is None:
            path = condition_problems.spelling(tree.operand)
            offset = None if path else tree.offset + 1  # what stands before it is too much to repeat
            self._problem(tree, *_unknown_field(path, tree.field, document), offset=offset)
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
        for arg, one in zip(tree.args, found, strict=True):
            if one and one.inside and isinstance(one.node, Document) and tree.function in _DECIDING:
                self._refuse_row(arg, one)
            if tree.function in _COMPARING:
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
            return self._below(operand, index.value)
        return _element(operand)

    def _below(self, operand: Found, name: str) -> Found:
        """A member of a JSON value."""
        found = replace(operand, steps=(*operand.steps, name), inside=True)
        self._access(found)
        return found

    def _listing(self, tree: Listing, loops: _Loops) -> Found | None:
        found = [self._value(element, loops) for element in tree.elements]
        first = next((one for one in found if one and isinstance(one.node, Document)), None)
        if tree.map or first is None or not isinstance(first.node, Document):
            return None
        return replace(first, node=ListOf(first.node), inside=True, alias="", made=True)

    def _loop(self, tree: Loop, loops: _Loops) -> Found | None:
        if tree.variable in _KNOWN_ROOTS or tree.variable in self._scope.roots:
            self._problem(tree, f"{tree.variable} cannot be the name of a loop variable: choose another")
            return None
        over = self._value(tree.over, loops)
        element = _element(over)
        if element and isinstance(element.node, Document):
            element = replace(element, alias=f"element__{tree.offset}")
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
    if isinstance(tree, Select | Call):
        return min(part.offset for part in condition_problems.walk(tree))
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
    steps = found.steps if found.made else (*found.steps, EACH)
    return replace(found, node=node, steps=steps, inside=True, alias="", made=False)


def _unknown_field(operand: str | None, name: str, document: Document) -> tuple[str, str]:
    prefix = f"{operand}." if operand else ""
    path = prefix + condition_problems.written(name)
    if name in document.withheld:
        return f"{path}: excluded or masked in {document.label}, so it cannot be read here", ""
    kind = "column" if "." in document.label else "field"
    what = f"{path}: no such {kind} in {document.label}"
    if near := condition_problems.nearest(name, document.fields):
        meant = prefix + condition_problems.written(near)
        return f"{what}; did you mean {meant}?", meant
    if not document.fields:
        return f"{what}; it has none", ""
    known = ", ".join(list(document.fields)[:8]) + (", …" if len(document.fields) > 8 else "")
    return f"{what}; it has {known}", ""
