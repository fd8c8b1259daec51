"""A model server and a webhook receiver that do as they are told, over real HTTP: for tests and measurements.

python -m agent.testing --port 8100 --script decide_first
python -m agent.testing --port 8200 --webhook
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

PROMPT_TOKENS, ANSWER_TOKENS = 100, 20


@dataclass(frozen=True, slots=True)
class Say:
    """Answer with this text as the model's."""

    content: str


@dataclass(frozen=True, slots=True)
class Call:
    """Call these tools instead of answering: name and arguments, as JSON or as what a model takes for it."""

    calls: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with this status and no completion."""

    code: int
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: str = '{"error": {"message": "scripted"}}'


@dataclass(frozen=True, slots=True)
class Hang:
    """Do not answer; hold the connection until the server is closed or so many seconds have passed."""

    seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Garbage:
    """Answer 200 with what is no completion."""

    body: bytes = b"<html>no JSON"


Reaction = Say | Call | Status | Hang | Garbage
Script = Callable[[dict[str, Any]], Reaction]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that arrived."""

    at: float
    """`time.perf_counter()` at its arrival, which is one clock for all processes of a machine."""
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    closing: threading.Event
    owner: _Recording


class _Recording:
    """An HTTP server on loopback that keeps what it was sent. A context manager: serves until it is left."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int) -> None:
        self.seen: list[Seen] = []
        self.arrived = threading.Condition()
        self.kept: int | None = None
        """How many of the newest requests are remembered; all by itself."""
        self._server = _Server(("127.0.0.1", port), handler)
        self._server.closing = threading.Event()
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_address[1]

    def keep(self, seen: Seen) -> None:
        """Remember a request and tell who waits for it."""
        with self.arrived:
            self.seen.append(seen)
            if self.kept is not None and len(self.seen) > 2 * self.kept:
                del self.seen[: -self.kept]
            self.arrived.notify_all()

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Seen]:
        """The requests so far, once there are so many; raises `TimeoutError` if they do not come."""
        with self.arrived:
            if not self.arrived.wait_for(lambda: len(self.seen) >= count, timeout):
                raise TimeoutError(f"{len(self.seen)} of {count} requests came within {timeout} s")
            return list(self.seen)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving and let go of what hangs."""
        self._server.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ScriptedModel(_Recording):
    """An OpenAI-compatible server whose answers a script makes from the requests."""

    def __init__(self, script: Script, *, port: int = 0) -> None:
        super().__init__(_ModelHandler, port)
        self.script = script

    @property
    def url(self) -> str:
        """For `base_url`, or MODEL_URL."""
        return f"http://127.0.0.1:{self.port}/v1"


class WebhookReceiver(_Recording):
    """Takes webhooks and counts each idempotency key once; `react` may answer otherwise than 200."""

    def __init__(self, react: Callable[[Seen], Status | Hang | None] | None = None, *, port: int = 0) -> None:
        super().__init__(_WebhookHandler, port)
        self.react = react

    @property
    def url(self) -> str:
        """Where webhooks go."""
        return f"http://127.0.0.1:{self.port}"

    def keys(self) -> dict[str, int]:
        """How often each idempotency key came."""
        counts: dict[str, int] = {}
        for seen in list(self.seen):
            key = seen.headers.get("idempotency-key", "")
            counts[key] = counts.get(key, 0) + 1
        return counts


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else the body waits for the head to be acknowledged, which the other side puts off by 40 ms.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parameter's name is the library's
        """Say nothing."""

    @property
    def recording(self) -> _Recording:
        """The server as its owner knows it."""
        return cast("_Server", self.server).owner

    def parse_request(self) -> bool:
        """Read the whole request; one whose sender is gone before its end was never made."""
        if not super().parse_request():
            return False
        self.at = time.perf_counter()
        length = int(self.headers.get("Content-Length") or 0)
        self.raw = self.rfile.read(length)
        if len(self.raw) < length:
            self.close_connection = True
        return len(self.raw) == length

    def take(self) -> Seen:
        """Keep the request."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.at, self.path, headers, json.loads(self.raw) if self.raw else {})
        self.recording.keep(seen)
        return seen

    def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send a whole answer."""
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hang(self, hang: Hang) -> None:
        """Keep the peer waiting, then close."""
        cast("_Server", self.server).closing.wait(hang.seconds)
        self.close_connection = True


class _ModelHandler(_Handler):
    def do_GET(self) -> None:
        """Health, and whatever else a client looks at first."""
        if self.path == "/requests":
            arrivals = [{"at": seen.at, "body": seen.body} for seen in list(self.recording.seen)]
            self.answer(200, json.dumps(arrivals).encode())
        else:
            self.answer(200, b'{"status": "ok"}')

    def do_POST(self) -> None:
        """A completion."""
        seen = self.take()
        reaction = cast("ScriptedModel", self.recording).script(seen.body)
        match reaction:
            case Say(content):
                self.answer(200, json.dumps(_completion(seen.body, content)).encode())
            case Call(calls):
                self.answer(200, json.dumps(_completion(seen.body, "", calls)).encode())
            case Status(code, headers, body):
                self.answer(code, body.encode(), headers)
            case Garbage(body):
                self.answer(200, body)
            case Hang():
                self.hang(reaction)


class _WebhookHandler(_Handler):
    def do_GET(self) -> None:
        """What has come so far."""
        receiver = cast("WebhookReceiver", self.recording)
        bodies = [{"key": seen.headers.get("idempotency-key"), "body": seen.body} for seen in list(receiver.seen)]
        self.answer(200, json.dumps({"keys": receiver.keys(), "requests": bodies}).encode())

    def do_POST(self) -> None:
        """A webhook."""
        seen = self.take()
        receiver = cast("WebhookReceiver", self.recording)
        reaction = receiver.react(seen) if receiver.react else None
        match reaction:
            case None:
                self.answer(200, b'{"received": true}')
            case Status(code, headers, body):
                self.answer(code, body.encode(), headers)
            case Hang():
                self.hang(reaction)


def _completion(request: dict[str, Any], content: str, calls: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"id": f"call-{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for number, (name, arguments) in enumerate(calls, 1)
        ]
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.get("model", "scripted"),
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": ANSWER_TOKENS,
            "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
        },
    }


def decision(*actions: tuple[str, dict[str, Any]], reason: str = "scripted") -> Say:
    """An answer in the agent's form."""
    proposed = [{"action": name, "arguments": arguments} for name, arguments in actions]
    return Say(json.dumps({"reason": reason, "actions": proposed}))


def offered(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of the actions that a request offers."""
    schema = request["response_format"]["json_schema"]["schema"]
    return schema["properties"]["actions"]["items"].get("anyOf", [])


def decide_first(request: dict[str, Any]) -> Reaction:
    """Propose the first action with the first of each choice, and short words for the rest."""
    return _decide(offered(request)[:1])


def decide_all(request: dict[str, Any]) -> Reaction:
    """Propose every action that is offered, in order."""
    return _decide(offered(request))


def decide_each(request: dict[str, Any]) -> Reaction:
    """Propose every action that is offered: of a batch one for each of its events, else the first of every choice."""
    content = request["response_format"]["json_schema"]["schema"]["properties"]["actions"]
    schemas = offered(request)
    if len(schemas) == 1 and content["maxItems"] > 1:
        ((choice, keys),) = ((n, each["enum"]) for n, each in _choices(schemas[0]).items() if "enum" in each)
        name = schemas[0]["properties"]["action"]["const"]
        return decision(*((name, {**_arguments(schemas[0]), choice: key}) for key in keys))
    return _decide(schemas)


def _choices(schema: dict[str, Any]) -> dict[str, Any]:
    return schema["properties"]["arguments"]["properties"]


def decide_two(request: dict[str, Any]) -> Reaction:
    """Propose the first two actions that are offered, in order."""
    return _decide(offered(request)[:2])


def prose(_request: dict[str, Any]) -> Reaction:
    """Answer as a chatting model does."""
    return Say("Sure! I would rebook this passenger on the next flight.")


def half(_request: dict[str, Any]) -> Reaction:
    """Half a JSON object."""
    return Say('{"reason": "because", "actions": [{"action": "re')


SCRIPTS: dict[str, Script] = {
    "decide_first": decide_first,
    "decide_all": decide_all,
    "decide_each": decide_each,
    "decide_two": decide_two,
    "decide_none": lambda _: decision(),
    "prose": prose,
    "half": half,
    "error": lambda _: Status(500),
    "garbage": lambda _: Garbage(),
    "hang": lambda _: Hang(),
}


def _decide(schemas: list[dict[str, Any]]) -> Say:
    return decision(*((each["properties"]["action"]["const"], _arguments(each)) for each in schemas))


def _arguments(schema: dict[str, Any]) -> dict[str, Any]:
    properties = schema["properties"]["arguments"]["properties"]
    return {name: _sample(each) for name, each in properties.items()}


def _sample(schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    match schema.get("type", "string"):
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "array":
            return [_sample(schema.get("items", {}))] * schema.get("minItems", 0)
        case "object":
            return {name: _sample(each) for name, each in schema.get("properties", {}).items()}
        case "null":
            return None
        case _:
            return "as proposed".ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength", 200)]


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m agent.testing", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", choices=sorted(SCRIPTS), default="decide_first")
    parser.add_argument("--webhook", action="store_true", help="receive webhooks instead")
    parser.add_argument("--keep", type=int, metavar="N", help="remember only the newest requests")
    options = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=ended.set).start())  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    server = (
        WebhookReceiver(port=options.port)
        if options.webhook
        else ScriptedModel(SCRIPTS[options.script], port=options.port)
    )
    server.kept = options.keep
    server.start()
    print(server.url, flush=True)
    ended.wait()
    server.close()


if __name__ == "__main__":
    main()
