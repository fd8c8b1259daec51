"""A Kafka Connect that says what its script says: a real HTTP server on loopback, and a clock that does not wait."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JETTY_404 = b"<html><body><h2>HTTP ERROR 404 Not Found</h2>Powered by Jetty:// 12.0.34</body></html>"


@dataclass
class Answer:
    """What the server says to one request; without a code it hangs up instead."""

    status: int | None = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def error(status: int, message: str) -> Answer:
    return Answer(status, {"error_code": status, "message": message})


TIMED_OUT = error(500, "Request timed out")
REBALANCE = error(409, "Cannot complete request momentarily due to stale configuration")
HANG_UP = Answer(None)


@dataclass
class Script:
    """The answers still to give, by order, and the requests that came."""

    answers: list[Answer]
    requests: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    url: str = ""
    state: Callable[[], Answer] | None = None
    """Answers every request instead of `answers`, for a server whose state passes with time."""

    def next(self, request: str, body: bytes) -> Answer:
        self.requests.append(request)
        self.bodies.append(json.loads(body) if body else None)
        if self.state:
            return self.state()
        return self.answers.pop(0) if self.answers else error(418, f"the script has no answer to {request}")


class FakeClock:
    """Time passes only by sleeping, and then at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.on_sleep: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds
        self.on_sleep()


@contextmanager
def serving(script: Script, port: int = 0) -> Generator[Script]:
    """Answer by the script until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet for an answer, or Nagle's algorithm delays it

        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = script.next(f"{self.command} {self.path}", body)
            if answer.status is None:
                self.close_connection = True
                return
            raw = answer.body if isinstance(answer.body, bytes) else _json(answer.body)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(raw)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _json(body: Any) -> bytes:
    return b"" if body is None else json.dumps(body).encode()
