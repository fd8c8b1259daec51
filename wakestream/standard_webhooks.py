"""The signature of Standard Webhooks, for everything that we send."""

from __future__ import annotations

import base64
import hmac


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`; a secret that begins with `whsec_` is base64 behind that."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    digest = hmac.digest(key, b".".join((message_id.encode(), str(timestamp).encode(), body)), "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def headers(message_id: str, timestamp: int, body: bytes, secret: str | None) -> dict[str, str]:
    """The headers of one message; without a secret it is not signed."""
    found = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if secret:
        found["webhook-signature"] = sign(secret, message_id, timestamp, body)
    return found
