"""Tells people outside that a source's level has changed: a signed webhook, a record on a Kafka topic, or both."""

from __future__ import annotations

import logging
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
import requests

from wakestream import kafka, standard_webhooks
from wakestream.config import Config, reveal
from wakestream.errors import WakeError

logger = logging.getLogger(__name__)

TIMEOUT = 5.0  # seconds for the receiver
AT_ONCE = 20  # notices


def send(  # noqa: PLR0913
    config: Config, source: str, what: str, level: str, reasons: tuple[str, ...], *, by: str = "guard"
) -> None:
    """Say it wherever `notify` in the file says. What cannot be told is logged: the guard's work goes on."""
    notify = config.notify
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": f"wake://{source}",
        "type": f"{by}.{what}",
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "data": {"source": source, "level": level, "reasons": reasons},
    }
    body = msgspec.json.encode(event)
    if notify.webhook is not None:
        _post(notify.webhook.url, event["id"], body, reveal(notify.webhook.secret) if notify.webhook.secret else None)
    if notify.topic is not None:
        try:
            kafka.send(config.kafka, "notices", notify.topic, [(source.encode(), body)])
        except WakeError as error:
            _not_told(notify.topic, str(error))


def forward(config: Config, ledger: psycopg.Connection[Any], source: str) -> None:
    """Send on what the agent has left for operators: each once, by whichever guard comes first.

    It is taken as sent before it is: a receiver that is away is told of in the log, and no notice is sent twice.
    """
    found = ledger.execute(
        "update wake.notice set sent_at = now() where id in (select id from wake.notice where sent_at is null"
        " order by id limit %s for update skip locked) returning id, kind, text",
        (AT_ONCE,),
    ).fetchall()
    for _, kind, text in sorted(found):
        send(config, source, kind.replace("_", "."), "warning", (text,), by="agent")


def _post(url: str, identifier: str, body: bytes, secret: str | None) -> None:
    headers = standard_webhooks.headers(identifier, int(time.time()), body, secret)
    headers |= {"Content-Type": "application/cloudevents+json", "User-Agent": "wakestream"}
    try:
        with requests.post(url, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False) as response:
            if response.status_code >= 300:
                _not_told(url, f"it answers {response.status_code}")
    except requests.RequestException as error:
        _not_told(url, type(error).__name__)


def _not_told(where: str, why: str) -> None:
    logger.warning("A notice could not be sent to %s: %s", where, why, extra={"action": "notice_failed"})
