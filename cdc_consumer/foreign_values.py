"""Values as somebody else's Debezium writes them, turned exactly into the form that ours are in.

What cannot be turned becomes `columns.UNKNOWN`, which every image names as missing: never a value that may be another.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from cdc_consumer.columns import UNKNOWN
from cdc_consumer.printed import Printed
from cdc_consumer.tables import TablePlan
from wakestream.capture import Form
from wakestream.catalogue import Column
from wakestream.errors import EventError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_SCALE = re.compile(r"\(\d+(?:,(\d+))?\)")
_PLAIN_NUMBER = re.compile(rb'"-?\d+(?:\.\d+)?(?:E[+-]?\d+)?"|"NAN"|"(?:POSITIVE|NEGATIVE)_INFINITY"')
_PLAIN_MOMENT = re.compile(rb'"[+-]?[\d:.T-]+Z?"')

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Conversion:
    """Turns the images and keys of one table."""

    def __init__(self, plan: TablePlan) -> None:
        self._plan = plan
        self._printed = Printed({plan.label: plan})
        self._converted = [
            (column, _CONVERT[form])
            for name, form in plan.settings.forms.items()
            if (column := plan.table.column(name)) is not None
        ]

    def image(self, raw: bytes) -> bytes:
        """An image in our form."""
        return self._printed.image(self._plan.label, self._turned(raw)[0] if self._converted else raw)

    def key(self, raw: bytes) -> bytes:
        """A key in our form. Raises `EventError` where it cannot be read."""
        if not self._converted:
            return raw
        turned, unknown = self._turned(raw)
        if unknown:
            raise EventError("unreadable key", detail=f"{', '.join(unknown)} of {self._plan.label} in another form")
        return turned

    def _turned(self, raw: bytes) -> tuple[bytes, list[str]]:
        fields = _fields.decode(raw)
        unknown: list[str] = []
        for column, convert in self._converted:
            text = fields.get(column.name)
            if text is None:
                continue
            turned = convert(bytes(text), column)
            if turned == UNKNOWN and column.toastable and self._plan.is_placeholder(column, bytes(text)):
                continue
            if turned == UNKNOWN:
                unknown.append(column.name)
            fields[column.name] = msgspec.Raw(turned)
        return msgspec.json.encode(fields), unknown


def _text_number(text: bytes, column: Column) -> bytes:
    return text if text == b"null" or _PLAIN_NUMBER.fullmatch(text) and not _is_unscaled(text, column) else UNKNOWN


def _is_unscaled(text: bytes, column: Column) -> bool:
    """Whether it was written before its owner chose decimal text: with digits behind the point that always has one."""
    return _scale(column) > 0 and b"." not in text and b"E" not in text and b"N" not in text


def _unscaled(text: bytes, column: Column) -> bytes:
    """Debezium's unscaled integer in base64; a null may be `NaN`, and is not known therefore."""
    try:
        raw = base64.b64decode(text[1:-1], validate=True) if text.startswith(b'"') else b""
    except binascii.Error:
        raw = b""
    if not raw:
        return UNKNOWN
    number, scale = int.from_bytes(raw, "big", signed=True), _scale(column)
    digits = str(abs(number)).rjust(scale + 1, "0")
    whole, behind = (digits[:-scale], f".{digits[-scale:]}") if scale else (digits, "")
    return f'"{"-" if number < 0 else ""}{whole}{behind}"'.encode()


def _scale(column: Column) -> int:
    found = _SCALE.search(column.type)
    return int(found[1] or 0) if found else 0


def _text_moment(text: bytes, _: Column) -> bytes:
    return text if text == b"null" or _PLAIN_MOMENT.fullmatch(text) else UNKNOWN


def _moment(write: Callable[[int], str]) -> Callable[[bytes, Column], bytes]:
    """A count since 1970 or midnight as a moment; what was written as text already stays as it is."""

    def convert(text: bytes, column: Column) -> bytes:
        if text == b"null":
            return text
        try:
            return f'"{write(int(text))}"'.encode()
        except ValueError:
            return _text_moment(text, column)
        except OverflowError:
            return UNKNOWN  # infinite, or before our era, where Debezium is wrong

    return convert


def _day(days: int) -> str:
    return (_EPOCH + days * _DAY).date().isoformat()


def _time(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, 1_000_000)
    if not 0 <= microseconds <= 86_400_000_000:
        raise OverflowError
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:06d}"


def _timestamp(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).replace(tzinfo=None).isoformat(timespec="microseconds")


_CONVERT: Mapping[Form, Callable[[bytes, Column], bytes]] = {
    "text": lambda text, column: (_text_number if column.base == "numeric" else _text_moment)(text, column),
    "unscaled": _unscaled,
    "days": _moment(_day),
    "time_ms": _moment(lambda count: _time(1000 * count)),
    "time_us": _moment(_time),
    "timestamp_ms": _moment(lambda count: _timestamp(1000 * count)),
    "timestamp_us": _moment(_timestamp),
}
