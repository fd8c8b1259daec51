"""One request to Kafka Connect at a time: sent, answered, decoded, repeated where that is safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec
import requests
import stamina

from connectors import connect_errors as errors
from wakestream.errors import WakeError

T = TypeVar("T")
Again = Literal["always", "unsent", "never"]
"""Repeat after any passing trouble; only when the request cannot have been carried out; not at all."""

Query = Mapping[str, str | tuple[str, ...]]

CONNECT_TIMEOUT = 5.0  # seconds until the TCP connection stands
WAIT_INITIAL = 0.25  # seconds before the first repetition
WAIT_MAX = 5.0  # seconds between repetitions at most
POLL_INTERVAL = 0.2  # seconds between two looks


class Clock(Protocol):
    """What passes the time while we wait; the module `time` is one."""

    def monotonic(self) -> float:
        """Seconds that only rise."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Come back after so many seconds."""
        ...


class Http:
    """A session with one Kafka Connect worker. Not for use by two threads at once."""

    def __init__(self, url: str, *, timeout_s: float, retry_s: float) -> None:
        self._url = url.rstrip("/")
        self.shown_url = without_credentials(self._url)
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._session = requests.Session()
        self._session.headers["Accept"] = "application/json"

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        body: Any = None,
        query: Query | None = None,
        name: str | None = None,
        again: Again = "always",
        timeout_s: float | None = None,
    ) -> T:
        """Send a request until it is answered, within the time for repetitions, and decode what it gives back."""

        def once() -> T:
            response = self.send(method, path, body=body, query=query, timeout_s=timeout_s)
            if response.status_code < 300:
                return self.decode(response, answer, f"{method} {path}")
            raise self.error(response, f"{method} {path}", name=name)

        if again == "never":
            return once()
        return self.repeat(once, unsent_only=again == "unsent")

    def repeat(self, once: Callable[[], T], *, unsent_only: bool = False) -> T:
        """Do something again, with backoff, while it fails for a passing reason and the time for repetitions lasts."""

        def worth_repeating(exc: Exception) -> bool | float:
            if not isinstance(exc, errors.ConnectAway) or (unsent_only and exc.uncertain):
                return False
            return True if exc.retry_after_s is None else min(exc.retry_after_s, self._retry_s)

        for attempt in self._attempts(worth_repeating):
            with attempt:
                return once()
        raise AssertionError("a retry context ends with a result or an exception")

    def _attempts(self, on: Callable[[Exception], bool | float]) -> Iterator[stamina.Attempt]:
        attempts = None if self._retry_s > 0 else 1
        return iter(
            stamina.retry_context(
                on=on,
                attempts=attempts,
                timeout=self._retry_s or None,
                wait_initial=WAIT_INITIAL,
                wait_max=WAIT_MAX,
                wait_jitter=WAIT_INITIAL,
            )
        )

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        timeout_s: float | None = None,
    ) -> requests.Response:
        """Send one request once. Any answer counts, whatever its code; no answer is one of our errors."""
        timeout = timeout_s or self._timeout_s
        try:
            return self._session.request(
                method,
                self._url + path,
                params=query,
                data=None if body is None else msgspec.json.encode(body),
                headers={} if body is None else {"Content-Type": "application/json"},
                timeout=(min(CONNECT_TIMEOUT, timeout), timeout),
                allow_redirects=False,
            )
        except requests.RequestException as exc:
            raise errors.from_exception(exc, self.shown_url, f"{method} {path}") from exc

    def error(self, response: requests.Response, call: str, *, name: str | None = None) -> WakeError:
        """Our error for an answer that is not 2xx."""
        return errors.from_response(response, self.shown_url, call, name=name)

    def decode(self, response: requests.Response, answer: type[T], call: str) -> T:
        """The body of an answer as a record."""
        if answer is type(None):
            return answer()
        try:
            return msgspec.json.decode(response.content, type=answer)
        except msgspec.DecodeError as exc:
            raise errors.not_understood(self.shown_url, call, str(exc)) from exc


def until(clock: Clock, probe: Callable[[], T | None], timeout_s: float, waiting_for: Callable[[], str]) -> T:
    """Ask until there is a result. A worker that is away for a while is waited for too, and named if it stays away."""
    deadline = clock.monotonic() + timeout_s
    while True:
        away = ""
        try:
            found = probe()
            if found is not None:
                return found
        except errors.ConnectAway as exc:
            away = f"; {exc}"
        if clock.monotonic() >= deadline:
            raise errors.StillWaiting(f"waited {timeout_s:g} s for {waiting_for()}{away}")
        clock.sleep(POLL_INTERVAL)


def without_credentials(url: str) -> str:
    """The URL as it may be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
