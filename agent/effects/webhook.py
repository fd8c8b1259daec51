"""A signed POST with an idempotency key."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec
import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from agent import json_text
from agent.effects.outcome import (
    Again,
    Failed,
    Material,
    Outcome,
    Pending,
    Recorder,
    Setting,
    Succeeded,
    Unknown,
)
from wakestream import config, marks, standard_webhooks
from wakestream.config.actions import WebhookAction
from wakestream.failpoint import reach

AGAIN_STATUSES = {429, 502, 503, 504}
BODY_SHOWN = 500  # characters
LONGEST_WAIT = 3600.0  # seconds that a server's Retry-After is followed


class WebhookPlan(msgspec.Struct, frozen=True):
    """The effect as the ledger keeps it."""

    url: str
    body: dict[str, Any]
    timeout_s: float
    idempotent: bool = False


class WebhookEffect:
    """Executes and settles webhook actions."""

    def __init__(self, secrets: Mapping[str, str], mark_key: bytes, *, now: Callable[[], float] = time.time) -> None:
        self._secrets = secrets
        self._mark_key = mark_key
        self._now = now

    @classmethod
    def open(cls, setting: Setting) -> WebhookEffect:
        """With the secrets that sign."""
        webhooks = {n: each for n, each in setting.config.actions.items() if isinstance(each, WebhookAction)}
        secrets = {name: config.reveal(each.secret) for name, each in webhooks.items() if each.secret}
        return cls(secrets, setting.mark_key)

    @staticmethod
    def plan(material: Material) -> dict[str, Any]:
        """The request."""
        settings = cast("WebhookAction", material.action.settings)
        plan = WebhookPlan(
            url=settings.url, body=material.values, timeout_s=settings.timeout, idempotent=settings.idempotent
        )
        return msgspec.structs.asdict(plan)

    def execute(self, action: Pending, record: Recorder) -> Outcome:
        """Send it once."""
        plan = msgspec.convert(action.effect, WebhookPlan)
        body = json_text.dump(plan.body).encode()
        now = self._now()
        record({"sent_at": now})
        reach("agent.6.before_send")
        action.hold()
        try:
            with requests.post(
                plan.url,
                data=body,
                headers=self._headers(action, body, now),
                timeout=plan.timeout_s,
                allow_redirects=False,
                stream=True,
            ) as response:
                outcome = _of_response(response)
        except requests.RequestException as error:
            outcome = _of_error(error, plan)
        reach("agent.6.after_send")
        return outcome

    def settle(self, action: Pending, record: Recorder) -> Outcome:
        """Repeat what may be repeated; for the rest nobody but the receiver knows."""
        plan = msgspec.convert(action.effect, WebhookPlan)
        if plan.idempotent:
            return self.execute(action, record)
        return Unknown("an earlier attempt was cut short while it was being sent; the receiver knows its key")

    def _headers(self, action: Pending, body: bytes, now: float) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "wakestream",
            "Idempotency-Key": action.id,
            marks.RELAY_HEADER: marks.sign_relay(self._mark_key, action.cause, now),
        }
        return headers | standard_webhooks.headers(action.id, int(now), body, self._secrets.get(action.name))


def _of_response(response: requests.Response) -> Outcome:
    result = {"status": response.status_code, "body": _beginning(response)}
    if 200 <= response.status_code < 300:
        return Succeeded(result)
    if response.status_code in AGAIN_STATUSES:
        return Again(f"the receiver answers {response.status_code}", _retry_after(response))
    why = "; redirects are not followed" if 300 <= response.status_code < 400 else ""
    return Failed(f"the receiver answers {response.status_code}{why}: {result['body']}".rstrip(": "), result)


def _beginning(response: requests.Response) -> str:
    try:
        content = next(response.iter_content(4 * BODY_SHOWN), b"")
    except requests.RequestException:  # the status has been said, and it is what counts
        content = b""
    return content.decode(response.encoding or "utf-8", "replace").replace("\x00", "")[:BODY_SHOWN]


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return min(float(value), LONGEST_WAIT) if value.isdigit() else None


def _of_error(error: requests.RequestException, plan: WebhookPlan) -> Outcome:
    """What an error comes to: certain where nothing was sent, in doubt where something may have arrived."""
    if isinstance(error, ValueError):  # requests gives its complaints about URLs and headers this family too
        return Failed(f"the request cannot be made: {error}")
    if _not_sent(error):
        return Again(f"the receiver cannot be reached: {_root(error)}")
    reason = "no answer in time" if isinstance(error, requests.Timeout) else f"the answer was cut short: {_root(error)}"
    return Again(reason) if plan.idempotent else Unknown(f"{reason}; it may have arrived")


def _not_sent(error: requests.RequestException) -> bool:
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.ProxyError | requests.exceptions.SSLError):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _root(error: requests.RequestException) -> str:
    cause: object = error.args[0] if error.args else error
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    text = str(cause).rpartition(": ")[2]
    return text or type(error).__name__
