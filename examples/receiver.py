"""Receives signed webhooks for an example: checks who sent them, and takes each once."""

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
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

LONGEST_BODY = 64 * 1024  # bytes
TOLERANCE = 300.0  # seconds that a signature may be old, against replays

Deliver = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes what a request says, and returns what is to be kept of it; raises `Refused`."""


class Refused(Exception):
    """A request that is not taken, with the answer's status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Inbox:
    """Every message that came, by the sender's idempotency key."""

    def __init__(self, secret: str, deliver: Deliver) -> None:
        self._secret = secret
        self._deliver = deliver
        self._messages: dict[str, dict[str, Any]] = {}
        self._refused: list[str] = []
        self._lock = threading.Lock()

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """Keep a message, or count a repeated one; returns the answer's status and text."""
        with self._lock:
            try:
                return self._take(headers, body)
            except Refused as refused:
                self._refused.append(str(refused))
                return refused.status, str(refused)

    def _take(self, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        key = headers.get("idempotency-key", "")
        if not key:
            raise Refused(400, "Idempotency-Key is missing")
        if not is_signed(self._secret, headers, body, time.time()):
            raise Refused(401, "the signature is not ours")
        if key in self._messages:
            self._messages[key]["deliveries"] += 1
            return 200, "known already"
        try:
            content = cast("object", json.loads(body))
        except ValueError:
            raise Refused(422, "JSON is wanted") from None
        if not isinstance(content, dict):
            raise Refused(422, "an object is wanted")
        kept = self._deliver(cast("dict[str, Any]", content))
        self._messages[key] = {"key": key, "at": time.time(), "deliveries": 1, **kept}
        return 201, "kept"

    def report(self) -> dict[str, Any]:
        """All messages in the order in which they came, and why others were refused."""
        with self._lock:
            return {"messages": [dict(each) for each in self._messages.values()], "refused": list(self._refused)}

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
    inbox: Inbox


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        self._answer(200, _inbox(self).report())

    def do_DELETE(self) -> None:
        _inbox(self).clear()
        self._answer(200, {"messages": []})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != "/messages" or not length.isdigit() or int(length) > LONGEST_BODY:
            self.close_connection = True
            self._answer(404 if self.path != "/messages" else 413, {"error": "POST /messages with a short body"})
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, text = _inbox(self).take(headers, body)
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


def _inbox(handler: BaseHTTPRequestHandler) -> Inbox:
    return cast("_Server", handler.server).inbox


def serve(description: str, secret_in: str, deliver: Deliver) -> None:
    """Serve until SIGTERM or Ctrl-C; the port is an option, the secret is in this variable."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8200)
    secret = os.environ.get(secret_in, "")
    if not secret:
        parser.error(f"{secret_in} is not set")
    server = _Server(("127.0.0.1", parser.parse_args().port), _Handler)
    server.inbox = Inbox(secret, deliver)
    ended = threading.Event()

    def end(*_: object) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    ended.wait()
    server.shutdown()
