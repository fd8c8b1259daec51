"""The customer service system that messages go to: checks who sent them, and keeps each once.

CRM_SECRET=… python -m examples.airline.crm --port 8200
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hmac
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

LONGEST_BODY = 64 * 1024  # bytes
TOLERANCE = 300.0  # seconds that a signature may be old, against replays


@dataclass
class Message:
    """One message to a customer."""

    key: str
    """The sender's idempotency key."""
    customer: int
    booking: int
    message: str
    at: float
    """When it came first."""
    deliveries: int = 1


class Crm:
    """Every message that came, by its idempotency key."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._messages: dict[str, Message] = {}
        self._refused: list[str] = []
        self._lock = threading.Lock()

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """Keep a message, or count a repeated one; returns the answer's status and text."""
        status, answer = self._take(headers, body)
        if status >= 400:
            with self._lock:
                self._refused.append(answer)
        return status, answer

    def _take(self, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        key = headers.get("idempotency-key", "")
        if not key:
            return 400, "Idempotency-Key is missing"
        if not is_signed(self._secret, headers, body, time.time()):
            return 401, "the signature is not ours"
        try:
            content = cast("dict[str, Any]", json.loads(body))
            new = Message(key, int(content["customer"]), int(content["booking"]), str(content["message"]), time.time())
        except (ValueError, KeyError, TypeError):
            return 422, "customer, booking and message are wanted"
        with self._lock:
            known = self._messages.get(key)
            if known is None:
                self._messages[key] = new
                return 201, "kept"
            known.deliveries += 1
            return 200, "known already"

    def report(self) -> dict[str, Any]:
        """All messages in the order in which they came, and why others were refused."""
        with self._lock:
            return {"messages": [asdict(each) for each in self._messages.values()], "refused": list(self._refused)}

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._messages.clear()
            self._refused.clear()


def is_signed(secret: str, headers: dict[str, str], body: bytes, now: float) -> bool:
    """Whether one of the signatures is right and fresh, after Standard Webhooks."""
    stamp = headers.get("webhook-timestamp", "")
    if not stamp.isdigit() or abs(now - int(stamp)) > TOLERANCE:
        return False
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return False
    signed = b".".join((headers.get("webhook-id", "").encode(), stamp.encode(), body))
    wanted = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    given = headers.get("webhook-signature", "").encode().split()
    return any(hmac.compare_digest(wanted, each) for each in given)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    crm: Crm


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        self._answer(200, _crm(self).report())

    def do_DELETE(self) -> None:
        _crm(self).clear()
        self._answer(200, {"messages": []})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != "/messages" or not length.isdigit() or int(length) > LONGEST_BODY:
            self.close_connection = True
            self._answer(404 if self.path != "/messages" else 413, {"error": "POST /messages with a short body"})
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, text = _crm(self).take(headers, body)
        self._answer(status, {"answer": text})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        print(format % args, file=sys.stderr, flush=True)

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _crm(handler: BaseHTTPRequestHandler) -> Crm:
    return cast("_Server", handler.server).crm


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.airline.crm", description=__doc__)
    parser.add_argument("--port", type=int, default=8200)
    secret = os.environ.get("CRM_SECRET", "")
    if not secret:
        parser.error("CRM_SECRET is not set")
    server = _Server(("127.0.0.1", parser.parse_args().port), _Handler)
    server.crm = Crm(secret)
    ended = threading.Event()

    def end(*_: object) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    ended.wait()
    server.shutdown()


if __name__ == "__main__":
    main()
