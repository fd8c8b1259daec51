"""How Debezium prints types beyond the everyday ones, turned into what PostgreSQL's input functions read.

Measured on Debezium 3.7 with the settings of our connector. What cannot be turned becomes `columns.UNKNOWN`.
"""

from __future__ import annotations

import base64
import dataclasses
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cdc_consumer.collect import Piece
from cdc_consumer.columns import UNKNOWN
from cdc_consumer.decode import Change
from cdc_consumer.tables import TablePlan
from wakestream import mirroring
from wakestream.catalogue import Column

Convert = Callable[[bytes], bytes]
"""A field's JSON, which is not null, into other JSON. Raises `ValueError` or `LookupError` for what it cannot read."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_lengths = re.compile(r"\((\d+)\)")
_POINT = struct.Struct("<dd")
_NULL = b"null"


class Printed:
    """Turns the images of one source's tables."""

    def __init__(self, tables: Mapping[str, TablePlan]) -> None:
        self._tables: dict[str, dict[str, Convert]] = {}
        for label, plan in tables.items():
            found = {c.name: convert for c in plan.shown if (convert := _conversion(c)) is not None}
            if found:
                self._tables[label] = found

    def turn(self, piece: Piece) -> Piece:
        """The piece with every image readable; the one given stays as it came."""
        if not self._tables or not any(change.table in self._tables for change in piece.changes):
            return piece
        changes = [self._change(change) if change.table in self._tables else change for change in piece.changes]
        return dataclasses.replace(piece, changes=changes)

    def _change(self, change: Change) -> Change:
        images = {
            name: self.image(change.table, image)
            for name, image in (("before", change.before), ("after", change.after))
            if image is not None
        }
        return msgspec.structs.replace(change, **images)

    def image(self, label: str, image: bytes) -> bytes:
        """An image of this table, readable."""
        conversions = self._tables.get(label)
        if conversions is None:
            return image
        fields = _fields.decode(image)
        for name, convert in conversions.items():
            text = bytes(fields.get(name, _NULL))
            if text == _NULL:
                continue
            try:
                turned = convert(text)
            except (ValueError, LookupError, TypeError, struct.error, msgspec.DecodeError):
                turned = UNKNOWN
            fields[name] = msgspec.Raw(turned)
        return msgspec.json.encode(fields)


def _conversion(column: Column) -> Convert | None:
    if column.base == "hstore":
        return _texts_as_json if column.array else _text_as_json
    if column.base in mirroring.DECODED:
        return _each_decoded if column.array else _decoded
    if column.array:
        return None
    if column.base == "bit":
        return _bits(column)
    return _GEOMETRIC.get(column.base)


def _string(text: str) -> bytes:
    return msgspec.json.encode(text)


def _decoded(field: bytes) -> bytes:
    """Base64 of the text that PostgreSQL prints."""
    return _string(base64.b64decode(_text.decode(field), validate=True).decode())


def _each_decoded(field: bytes) -> bytes:
    texts = msgspec.json.decode(field, type=list[str | None])
    return b"[%s]" % b",".join(_NULL if text is None else _decoded(_string(text)) for text in texts)


def _text_as_json(field: bytes) -> bytes:
    """A string with JSON in it, as that JSON."""
    return msgspec.json.format(_text.decode(field).encode(), indent=-1)


def _texts_as_json(field: bytes) -> bytes:
    texts = msgspec.json.decode(field, type=list[str | None])
    return b"[%s]" % b",".join(_NULL if text is None else _text_as_json(_string(text)) for text in texts)


def _bits(column: Column) -> Convert:
    """A boolean for one bit; for more base64 of them, the last one first, without zeros at the end."""
    found = _lengths.search(column.type)
    length = int(found[1]) if found else 1

    def convert(field: bytes) -> bytes:
        if field in (b"true", b"false"):
            return b'"1"' if field == b"true" else b'"0"'
        number = int.from_bytes(base64.b64decode(_text.decode(field), validate=True), "little")
        return _string(f"{number:0{length}b}")

    return convert


def _number(value: Any) -> str:
    """A coordinate: what JSON has no number for comes as text."""
    return value if isinstance(value, str) else repr(float(value))


def _point(value: Mapping[str, Any]) -> str:
    return f"({_number(value['x'])},{_number(value['y'])})"


def _points(value: Mapping[str, Any]) -> list[str]:
    """The points of a line or of a polygon's ring in well-known binary, with its first byte for little endian."""
    raw = base64.b64decode(value["wkb"], validate=True)
    (kind,) = struct.unpack_from("<xI", raw)
    at = 9 if kind == 3 else 5
    (count,) = struct.unpack_from("<I", raw, at)
    return [f"({x!r},{y!r})" for x, y in (_POINT.unpack_from(raw, at + 4 + n * 16) for n in range(count))]


def _box(value: Mapping[str, Any]) -> str:
    """Its corners are the first point of the ring and the one opposite."""
    points = _points(value)
    return f"{points[0]},{points[2]}"


def _path(value: Mapping[str, Any]) -> str:
    listed = ",".join(_points(value))
    return f"({listed})" if value["extensions"]["closed"] == "true" else f"[{listed}]"


def _polygon(value: Mapping[str, Any]) -> str:
    """The ring ends with its first point again, except where it has only one."""
    points = _points(value)
    return f"({','.join(points[:-1] if len(points) > 1 else points)})"


def _structured(write: Callable[[Mapping[str, Any]], str]) -> Convert:
    return lambda field: _string(write(msgspec.json.decode(field)))


_GEOMETRIC: dict[str, Convert] = {
    "point": _structured(_point),
    "line": _structured(lambda v: f"{{{_number(v['a'])},{_number(v['b'])},{_number(v['c'])}}}"),
    "lseg": _structured(lambda v: f"[{','.join(_points(v))}]"),
    "box": _structured(_box),
    "path": _structured(_path),
    "polygon": _structured(_polygon),
    "circle": _structured(lambda v: f"<{_point(v['center'])},{_number(v['radius'])}>"),
}


def _sparse(value: Mapping[str, Any]) -> str:
    pairs = ",".join(f"{index}:{float4(number)}" for index, number in sorted(value["vector"]))
    return f"{{{pairs}}}/{value['dimensions']}"


def float4(value: float) -> str:
    """A number that came from a float4's shortest text, in that text again."""
    shortest = repr(float(value))
    digits, power = _digits(shortest)
    if not digits:
        return "-0" if shortest.startswith("-") else "0"
    sign = "-" if shortest.startswith("-") else ""
    if -4 <= power < 6:
        return sign + _fixed(digits, power)
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _digits(text: str) -> tuple[str, int]:
    """The significant digits of a printed number and the power of ten of the first."""
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    power = len(whole) - 1 + int(exponent or 0)
    digits = whole + fraction
    stripped = digits.lstrip("0")
    return stripped.rstrip("0"), power - (len(digits) - len(stripped))


def _fixed(digits: str, power: int) -> str:
    if power < 0:
        return "0." + "0" * (-power - 1) + digits
    whole, fraction = digits[: power + 1].ljust(power + 1, "0"), digits[power + 1 :]
    return f"{whole}.{fraction}" if fraction else whole


_GEOMETRIC["sparsevec"] = _structured(_sparse)
