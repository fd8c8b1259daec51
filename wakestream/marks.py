"""Signed marks: how a change in the log is recognised as ours, and by which action it was made.

A mark is a logical message (prefix `wake`) in the action's own transaction, signed over its content and the
transaction's id, so that a copy of it in another transaction is worth nothing. A relay token travels with webhooks
and Kafka effects instead; it is signed over its content and an expiry, proves a cause and never a receipt.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any

import msgspec

from wakestream.errors import EventError
from wakestream.events import Cause

PREFIX = "wake"
CLOCK_PREFIX = "wake.clock"
RELAY_HEADER = "Wake-Cause"
RELAY_VALIDITY = 900  # seconds


class _Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    cause: Cause
    mac: str
    expires: int = 0
    """Seconds since 1970 for a relay token; 0 for a mark, which is bound to its transaction instead."""


def sign_mark(key: bytes, cause: Cause, xid: int) -> str:
    """The content of the logical message for the transaction with this id (all 64 bits of it)."""
    return msgspec.json.encode(_Mark(cause, _mac(key, cause, "xid", xid % 2**32))).decode()


def sign_relay(key: bytes, cause: Cause, now_s: float) -> str:
    """The token for `Wake-Cause`, valid for 15 minutes."""
    expires = int(now_s) + RELAY_VALIDITY
    mark = _Mark(cause, _mac(key, cause, "expires", expires), expires)
    return base64.urlsafe_b64encode(msgspec.json.encode(mark)).decode()


def verify(key: bytes, content: bytes, *, txid: int, time_s: float) -> tuple[Cause, bool]:
    """The cause that a message's content proves, and whether it is a receipt too.

    `txid` is the change's 32-bit transaction id, `time_s` its commit time. Raises `EventError` when the content
    proves nothing: forged, copied from another transaction, or expired.
    """
    try:
        mark = msgspec.json.decode(_unwrap(content), type=_Mark)
        signed = _mac(key, mark.cause, "expires", mark.expires) if mark.expires else _mac(key, mark.cause, "xid", txid)
        genuine = hmac.compare_digest(mark.mac.encode(), signed.encode())
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:  # anybody may write anything
        raise EventError("forged mark", detail="not one of ours") from error
    if mark.expires:
        if not genuine:
            raise EventError("forged mark", detail="wrong signature")
        if time_s > mark.expires:
            raise EventError("expired relay token", detail=f"action {mark.cause.action}")
        return mark.cause, False
    if not genuine:
        raise EventError("forged mark", detail="wrong signature, or copied from another transaction")
    return mark.cause, True


def _unwrap(content: bytes) -> bytes:
    if content.startswith(b"{"):
        return content
    try:
        return base64.urlsafe_b64decode(content)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _mac(key: bytes, cause: Cause, kind: str, bound_to: Any) -> str:
    return hmac.new(key, msgspec.json.encode((cause, kind, bound_to)), "sha256").hexdigest()
