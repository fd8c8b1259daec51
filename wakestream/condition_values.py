"""The values that an expression reads, out of an event's images and into what the engine takes."""

from __future__ import annotations

import datetime
import decimal
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from wakestream.condition_reading import EACH, Found, Path, Reading, Step
from wakestream.condition_scope import Document, ListOf, Node, Scalar

Convert = Callable[[Any], object]
"""Takes a JSON value that is not null."""
Images = Mapping[str, Any]
"""`after`, `before`, `key`, `changed`, `op`, `cause` … as parsed from the event."""

_INT64 = 1 << 63
_NOT_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""What JSON has no number for, `to_jsonb` gives as text."""
_NO_MONEY = re.compile(r"[^\d.,]")
_DERIVED = {"inserted": "insert", "updated": "update", "deleted": "delete"}


class Unreadable(Exception):
    """A value is not of the form that its type has; the message names it, and never the value."""


class Absent(Unreadable):
    """The event does not have what is read: it was made under another revision of the source's schema."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path} is not in the event")


class Values:
    """Takes from an event what one expression reads, and nothing else."""

    def __init__(self, reading: Reading) -> None:
        self.names = {".".join(path): node for path, node in reading.variables.items()}
        """Dotted path and type of every variable."""
        self.timestamps = tuple(name for name, node in self.names.items() if name != "now" and _is_timestamp(node))
        self._getters = [
            (".".join(path), path[0], path[1:], _converter(node, _fields(reading, path)))
            for path, node in reading.variables.items()
            if path[0] != "now" and path[0] not in _DERIVED
        ]
        self._derived = [(path[0], _DERIVED[path[0]]) for path in reading.variables if path[0] in _DERIVED]
        self._now = "now" in self.names
        self._accesses = [(".".join(path), steps) for path, steps in reading.accesses]
        self.looked_at = frozenset((*path, *steps) for path, steps in reading.accesses)
        """Every value that may count, as steps from the root; `EACH` goes from a list to its elements."""
        self._unknowable = Unknowable(reading.variables)

    def unknown(self, missing: Iterable[str]) -> str | None:
        """The path in `missing` that covers something the expression reads."""
        return self._unknowable.among(missing)

    def take(self, images: Images, now: datetime.datetime | None) -> dict[str, object]:
        """The variables' values; raises `Unreadable`, `Absent` where there is none."""
        data: dict[str, object] = {}
        name, root, path = "now", "", ()
        try:
            for name, root, path, convert in self._getters:
                value = images[root]
                for step in path:
                    if value is None:
                        break
                    value = value[step]
                data[name] = convert(value) if convert is not None and value is not None else value
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            if _lacks(images.get(root), path):
                raise Absent(name) from error
            raise Unreadable(
                f"{name} in the event is not what the catalogue says: absent, or of another type"
            ) from error
        if self._derived:
            data.update((name, images.get("op") == op) for name, op in self._derived)
        if self._now:
            data["now"] = _given(now)
        return data

    def null_among(self, data: Mapping[str, object]) -> str | None:
        """Something it reads that is null, as a path; whether or not the evaluation came to it."""
        for name, steps in self._accesses:
            if _is_null(data.get(name), steps):
                return ".".join([name, *(step for step in steps if step is not None)])
        return None


class Unknowable:
    """Tells whether anything that is read is among what an event could not know."""

    def __init__(self, variables: Mapping[Path, Node]) -> None:
        self._covering: set[str] = set()
        self._lists: tuple[str, ...] = ()
        for path, node in variables.items():
            self._covering.update(".".join(path[: n + 1]) for n in range(len(path)))
            if path[0] == "changed":  # it is worked out from the previous image
                self._covering.add("before")
            if path[0] in _DERIVED:
                self._covering.add("op")
            if isinstance(node, ListOf):
                self._lists += (".".join(path) + ".",)

    def among(self, missing: Iterable[str]) -> str | None:
        """The first path that covers something read, or that lies inside a list which is read."""
        for path in missing:
            if path in self._covering or path.startswith(self._lists):
                return path
        return None


def _lacks(image: Any, path: Path) -> bool:
    """Whether an image has no such field, whatever it may be."""
    for step in path:
        if not isinstance(image, dict):
            return False
        fields = cast("dict[str, Any]", image)
        if step not in fields:
            return True
        image = fields[step]
    return False


def follow(images: Images, found: Found, now: datetime.datetime | None) -> object:
    """The JSON value at the end of a path, as it is in the event; null below a null. Raises `Unreadable`."""
    if found.path == ("now",):
        return iso(_given(now))
    value: object = images
    for step in (*found.path, *found.steps):
        if value is None:
            return None
        try:
            value = cast("dict[str | None, object]", value)[step]
        except (KeyError, TypeError) as error:
            raise Unreadable(f"{'.'.join(found.path)} in the event has no {step}") from error
    return value


def engine_json(value: object) -> object:
    """A JSON value with what the engine cannot take, decimals and integers above 64 bits, as floats."""
    if isinstance(value, dict):
        return {key: engine_json(item) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [engine_json(item) for item in cast("list[object]", value)]
    if isinstance(value, decimal.Decimal) or (isinstance(value, int) and not -_INT64 <= value < _INT64):
        return _nearest(value)
    return value


def as_json(value: object) -> object:
    """What the engine gives, as a JSON value: timestamps and durations as ISO text, bytes in hex."""
    match value:
        case datetime.datetime():
            return iso(value)
        case datetime.timedelta():
            return f"PT{value.total_seconds():g}S"
        case bytes():
            return f"\\x{value.hex()}"
        case list():
            return [as_json(item) for item in cast("list[object]", value)]
        case dict():
            return {str(key): as_json(item) for key, item in cast("dict[object, object]", value).items()}
        case _:
            return value


def iso(moment: datetime.datetime) -> str:
    """A timestamp in the form of `to_jsonb` under UTC: `2026-11-22T11:53:11.769+00:00`."""
    text = moment.astimezone(datetime.UTC).isoformat()
    head, dot, rest = text.partition(".")
    return f"{head}.{rest[:6].rstrip('0')}{rest[6:]}" if dot else text


def _given(now: datetime.datetime | None) -> datetime.datetime:
    if now is None:
        raise Unreadable("now is read, and no time was given")
    return now


def _is_timestamp(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "timestamp" and not node.array


def _timestamp(value: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _zoned(value: str) -> str:
    """A timestamp as text that CEL's `timestamp()` takes: it wants a time and a zone."""
    return _timestamp(value).isoformat()


def _double(value: object) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int | decimal.Decimal) and not isinstance(value, bool):
        return _nearest(value)
    return _NOT_NUMBERS[cast("str", value)]


def _nearest(value: int | decimal.Decimal) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond what a float holds
        return math.inf if value > 0 else -math.inf


def _money(value: object) -> float:
    """`-$1,234.56` or `1.234,56 €`: the last separator is the decimal one if two digits follow it."""
    if not isinstance(value, str):
        return _double(value)
    digits = _NO_MONEY.sub("", value)
    whole, fraction = (digits[:-3], digits[-2:]) if re.search(r"[.,]\d\d$", digits) else (digits, "0")
    amount = float(f"{re.sub(r'[.,]', '', whole) or '0'}.{fraction}")
    return -amount if "-" in value or "(" in value else amount


def _present(_: object) -> bool:
    return True


def _converter(node: Node, fields: frozenset[str] | None) -> Convert | None:
    if isinstance(node, Document):
        return _present  # read only to compare it with null
    if isinstance(node, ListOf):
        return _each(_document_converter(node.element, fields))
    if node.array:
        return _each(_scalar_converter(node, inside=True))
    return _scalar_converter(node, inside=False)


def _scalar_converter(node: Scalar, *, inside: bool) -> Convert | None:
    match node.kind:
        case "double":
            return _money if node.base == "money" else _double
        case "int":
            return int if node.base == "oid" else None
        case "timestamp":
            return _zoned if inside else _timestamp
        case "bool" | "json" | "text":
            return None


def _document_converter(document: Document, fields: frozenset[str] | None) -> Convert | None:
    """Of a document inside a list, cut down to the fields that are read; None if it can be handed over as it is."""
    converters = {name: _member_converter(node) for name, node in document.fields.items()}
    if fields is not None:
        wanted = [(name, converters[name]) for name in fields]
        return lambda row: {name: _converted(row[name], convert) for name, convert in wanted}
    changing = [(name, convert) for name, convert in converters.items() if convert is not None]
    if not changing:
        return None
    return lambda row: row | {name: _converted(row[name], convert) for name, convert in changing}


def _member_converter(node: Node) -> Convert | None:
    """Of a value inside a document that is itself inside a list."""
    if isinstance(node, Document):
        return _document_converter(node, None)
    if isinstance(node, Scalar) and not node.array:
        return _scalar_converter(node, inside=True)
    return _converter(node, None)


def _converted(value: object, convert: Convert | None) -> object:
    return value if convert is None or value is None else convert(value)


def _each(convert: Convert | None) -> Convert | None:
    if convert is None:
        return None
    return lambda values: [None if value is None else convert(value) for value in values]


def _fields(reading: Reading, path: Path) -> frozenset[str] | None:
    """The fields of a list's elements that are read; None if whole elements are."""
    used = [steps[1:] for of, steps in reading.accesses if of == path and steps[:1] == (EACH,)]
    return None if () in used else frozenset(steps[0] for steps in used if steps[0] is not None)


def _is_null(value: object, steps: tuple[Step, ...]) -> bool:
    if value is None:
        return True
    if not steps:
        return False
    step, rest = steps[0], steps[1:]
    if isinstance(value, list) and step is EACH:
        return any(_is_null(item, rest) for item in cast("list[object]", value))
    if isinstance(value, dict) and step is not EACH:
        members = cast("dict[str, object]", value)
        return step in members and _is_null(members[step], rest)
    return False
