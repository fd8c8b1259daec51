"""A small web site that answers GETs with JSON as a test says, and keeps what was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Get:
    """One request that arrived."""

    path: str
    headers: dict[str, str]


React = Callable[[Get], tuple[int, Any]]


class Site:
    """A context manager that serves until it is left; a body that is bytes goes out as it is."""

    def __init__(self, react: React) -> None:
        self.react = react
        self.seen: list[Get] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

            def do_GET(self) -> None:
                get = Get(self.path, {name.lower(): value for name, value in self.headers.items()})
                site.seen.append(get)
                status, body = site.react(get)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(0 if status == 204 else len(content)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Site:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
