"""Which columns should not be seen as they are, and which hold text of strangers: by name and by values' shape."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from connectors.init.shapes import Shape, Shapes
from wakestream.catalogue import Column, Table
from wakestream.mirroring import is_lost

_How = Literal["exclude", "mask"]

WHOLE = 0.5  # share of values from which a column is taken for what they look like
SOME = 0.2  # share of prose from which a column is free text

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# A name that ends so is about the thing and is not the thing: email_verified, phone_type, token_count.
_ABOUT = re.compile(r"_(type|kind|status|state|count|verified|confirmed|template|at|on|enabled|sent|format|size)$")
_NUMBERS = ("int2", "int4", "int8", "float4", "float8", "numeric", "money")
_NEVER = ("bool", "date", "timestamp", "timestamptz", "time", "interval", "enum")

_TOKENS = (
    r"pass(word|wd|phrase|code|_?hash)?|pwd|passwords?|secrets?|(\w+_)?tokens?|api_?keys?|(access|private|secret)_?key|"
    r"salt|otp|totp|credentials?|session_key|(\w+_)?(password|passwd|pwd|secret|api_?key|token)(_\w+)?"
)
_CARD = r"(\w+_)?(card|cc|creditcard)_?(number|num|no|pan)|credit_?card|pan|cvv2?|cvc|csc|pin|security_code|(\w+_)?iban"
_BANK = r"(bank_)?account_?(number|num|no)|bank_account|routing_number|sort_code"
_NATIONAL = (
    r"ssn|sin|nino|cpf|cnpj|dni|nif|tin|pesel|aadhaar|personnummer|social_?security\w*|national_?(id|insurance)\w*|"
    r"passport\w*|tax_?(id|number|no)\w*|(driver|driving)\w*licen[cs]e\w*|identity_(card|number)\w*|id_card\w*"
)
_EMAIL = r"(\w+_)?e_?mails?(_address(es)?)?"
_PHONE = r"(\w+_)?(phone|mobile|cell|cellphone|telephone|tel|fax|msisdn|whatsapp)s?(_?(number|no|nr))?"
_FREE = (
    r"(\w+_)?(remarks?|comments?|notes?|descriptions?|messages?|body|content|feedback|review|bio|about|text|question|"
    r"answer|memo|subject|reason|summary|details?|complaint|request|instructions|wishes)(_\w+)?"
)


def _named(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


_EXCLUDE_NAMES = {
    "a secret": _named(_TOKENS),
    "a card or account": _named(_CARD, _BANK),
    "a national id": _named(_NATIONAL),
}
_MASK_NAMES = {"e-mail addresses": _named(_EMAIL), "phone numbers": _named(_PHONE)}
_FREE_NAMES = _named(_FREE)


@dataclass
class ColumnProposals:
    """What the file says of one table's columns, with the reason for each."""

    exclude: dict[str, str] = field(default_factory=dict[str, str])
    mask: dict[str, str] = field(default_factory=dict[str, str])
    untrusted: dict[str, str] = field(default_factory=dict[str, str])
    bound: dict[str, str] = field(default_factory=dict[str, str])
    """Columns that should be hidden and cannot be: a key or a foreign key needs them."""
    sampled: bool = True
    """Whether values were looked at, or only names."""

    @property
    def withheld(self) -> frozenset[str]:
        """Columns that nothing may read."""
        return frozenset(self.exclude) | frozenset(self.mask)


def propose_columns(table: Table, shapes: Mapping[str, Shapes] | None, needed: Collection[str]) -> ColumnProposals:
    """The proposals for a table; `needed` are columns of its that keys and foreign keys stand on."""
    made = ColumnProposals(sampled=shapes is not None)
    for column in table.columns:
        seen = (shapes or {}).get(column.name, Shapes())
        hidden = None if column.base in _NEVER or column.generated else _by_name(column) or _by_shape(seen)
        if hidden is not None:
            how, why = hidden
            _hide(made, column, how, why, needed)
        elif not is_lost(column) and (why := _untrusted(column, seen, sampled=made.sampled)) is not None:
            made.untrusted[column.name] = why
    return made


def _hide(made: ColumnProposals, column: Column, how: _How, why: str, needed: Collection[str]) -> None:
    if column.name in needed:
        made.bound[column.name] = why
    elif (how == "mask" and not is_lost(column)) or "," in column.name:  # Debezium's list cannot name such a column
        made.mask[column.name] = why
    else:
        made.exclude[column.name] = why


def _by_name(column: Column) -> tuple[_How, str] | None:
    """How a column should be hidden because of what it is called, and why."""
    name = normal(column.name)
    if _ABOUT.search(name):
        return None
    for what, pattern in _EXCLUDE_NAMES.items():
        if pattern.fullmatch(name) and not (column.base in _NUMBERS and what == "a secret"):
            return "exclude", f"{what}, by its name"
    for what, pattern in _MASK_NAMES.items():
        if pattern.fullmatch(name):
            return "mask", f"{what}, by its name"
    return None


def _by_shape(shapes: Shapes) -> tuple[_How, str] | None:
    found: tuple[tuple[Shape, _How, str], ...] = (
        ("secret", "exclude", "a secret"),
        ("card", "exclude", "card numbers"),
        ("national_id", "exclude", "national ids or accounts"),
        ("email", "mask", "e-mail addresses"),
        ("phone", "mask", "phone numbers"),
        ("opaque", "exclude", "tokens or hashes"),
    )
    for shape, how, what in found:
        if shapes.share(shape) >= WHOLE:
            return how, f"{what}, by the shape of its values"
    return None


def _untrusted(column: Column, shapes: Shapes, *, sampled: bool) -> str | None:
    """Why a column may hold what strangers wrote."""
    if column.base in ("json", "jsonb"):
        return "JSON, which may hold any text"
    if column.base not in ("text", "varchar", "bpchar", "citext"):
        return None
    if _FREE_NAMES.fullmatch(normal(column.name)):
        return "free text, by its name"
    if shapes.share("prose") >= SOME:
        return "free text, by the shape of its values"
    if column.type == "text" and not column.array and sampled and not shapes.seen and not is_state(column.name):
        return "text without limit, and no values yet"
    return None


def normal(name: str) -> str:
    """A column's name as snake_case."""
    return re.sub(r"[^a-z0-9]+", "_", _CAMEL.sub("_", name).lower()).strip("_")


_STATE = re.compile(r"(\w+_)?(status|state|stage|phase|step|condition|severity|priority|result|outcome)(_code|_id)?")


def is_state(name: str) -> bool:
    """Whether a column is called as those are that say how far something has come."""
    return _STATE.fullmatch(normal(name)) is not None
