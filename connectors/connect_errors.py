"""Everything that can go wrong between us and Kafka Connect, in terms of our own error tree.

WakeError
├─ ConfigurationError
│  ├─ InvalidConnector    the connector's configuration, one problem for each field
│  └─ (plain)             `connect.url` is not a URL
├─ RefusedError           (plain) the worker says no, and why
│  ├─ ConnectorMissing    no connector of that name
│  ├─ ConnectorExists     one of that name, configured differently
│  └─ ConnectorNotStopped its offsets can only be changed while it is stopped
├─ TransientError
│  ├─ ConnectAway         the worker is away, busy or rebalancing
│  └─ StillWaiting        it answers, and what we wait for has not happened in time
└─ FatalError
   ├─ ConnectDenied       credentials
   ├─ ConnectorFailed     the connector or a task of it is FAILED
   └─ NotConnect          what answers does not speak Kafka Connect's REST interface
"""

from __future__ import annotations

import re

import msgspec
import requests
from requests import exceptions as rx
from urllib3.exceptions import MaxRetryError, NewConnectionError

from wakestream.errors import ConfigurationError, FatalError, RefusedError, TransientError, WakeError

_INVALID = re.compile(
    r"configuration is invalid and contains the following \d+ error\(s\):\n(?P<problems>.*)", re.DOTALL
)
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")
_NO_TASK = re.compile("(No status found for|Unknown) task")
_NO_PLUGIN = "Failed to find any class that implements Connector"
_CHECK_URL = "check that connect.url is the REST listener of a Kafka Connect of 3.9 or newer"
_SEE_ALSO = "You can also find the above list of errors at the endpoint"


class InvalidConnector(ConfigurationError):
    """Connect does not accept this configuration: `fields` has the problems by setting, `problems` a line for each."""

    def __init__(self, name: str, fields: dict[str, tuple[str, ...]]) -> None:
        self.name = name
        self.fields = fields
        super().__init__(
            *(f"connector {name}: {_at(field)}{_line(text)}" for field in fields for text in fields[field])
        )


class ConnectorMissing(RefusedError):
    """There is no connector of this name."""

    def __init__(self, name: str, detail: str = "") -> None:
        self.name = name
        super().__init__(f"no connector {name} in Kafka Connect" + (f" ({detail})" if detail else ""))


class ConnectorExists(RefusedError):
    """A connector of this name exists already, and not with this configuration."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"connector {name} exists already with another configuration: update it, or delete it first")


class ConnectorNotStopped(RefusedError):
    """Offsets can be changed only while the connector is STOPPED and has no tasks."""


class ConnectAway(TransientError):
    """The worker does not answer, is busy or rebalances. With `uncertain` the request may have been carried out."""

    def __init__(self, message: str, *, uncertain: bool, retry_after_s: float | None = None) -> None:
        self.uncertain = uncertain
        super().__init__(message, retry_after_s=retry_after_s)


class StillWaiting(TransientError):
    """What was waited for has not happened in time; it may still happen."""


class ConnectDenied(FatalError):
    """The worker, or a proxy before it, refuses our credentials."""


class ConnectorFailed(FatalError):
    """The connector or one of its tasks is FAILED: `reason` is the telling line of `trace`."""

    def __init__(self, name: str, part: str, reason: str, trace: str) -> None:
        self.name = name
        self.part = part
        self.reason = reason
        self.trace = trace
        super().__init__(
            f"connector {name}: {part} is FAILED: {reason or 'without a trace; see the log of the worker'}"
        )


class NotConnect(FatalError):
    """The answer is none that Kafka Connect gives."""


_AWAY, _CONFIGURATION, _FATAL = "away", "configuration", "fatal"

HOMES: dict[type[rx.RequestException], str] = {
    rx.RequestException: _FATAL,
    rx.InvalidJSONError: _FATAL,
    rx.JSONDecodeError: _FATAL,
    rx.HTTPError: _FATAL,
    rx.ConnectionError: _AWAY,
    rx.ProxyError: _AWAY,
    rx.SSLError: _FATAL,
    rx.Timeout: _AWAY,
    rx.ConnectTimeout: _AWAY,
    rx.ReadTimeout: _AWAY,
    rx.URLRequired: _CONFIGURATION,
    rx.TooManyRedirects: _FATAL,
    rx.MissingSchema: _CONFIGURATION,
    rx.InvalidSchema: _CONFIGURATION,
    rx.InvalidURL: _CONFIGURATION,
    rx.InvalidHeader: _CONFIGURATION,
    rx.InvalidProxyURL: _CONFIGURATION,
    rx.ChunkedEncodingError: _AWAY,
    rx.ContentDecodingError: _AWAY,
    rx.StreamConsumedError: _FATAL,
    rx.RetryError: _AWAY,
    rx.UnrewindableBodyError: _FATAL,
}
"""Where each exception class of requests belongs; a subclass that is not named goes with its nearest named parent."""


def from_exception(exc: rx.RequestException, url: str, call: str) -> WakeError:
    """Our error for a request that got no answer; `url` is the worker's, without credentials."""
    home = next(HOMES[cls] for cls in type(exc).__mro__ if cls in HOMES)
    if home == _AWAY:
        what = f"Kafka Connect at {url} does not answer ({call}: {_reason(exc)})"
        return ConnectAway(f"{what}; check connect.url and that the worker runs", uncertain=not _unsent(exc))
    if home == _CONFIGURATION:
        return ConfigurationError(
            f"connect.url: {url} cannot be asked ({_reason(exc)}); it should look like http://host:8083"
        )
    what = "TLS failed, check the certificate" if isinstance(exc, rx.SSLError) else "the request failed"
    return FatalError(f"Kafka Connect at {url}: {what} ({call}: {_reason(exc)})")


def from_response(response: requests.Response, url: str, call: str, *, name: str | None) -> WakeError:
    """Our error for an answer that is not 2xx; `name` is the connector that was asked for, if one was."""
    status, message = response.status_code, _message(response)
    text = _line(message or response.reason or "without a message")
    where = f"Kafka Connect at {url} answers {status} to {call}: {text}"
    if starting(response):
        return ConnectAway(f"Kafka Connect at {url} is still starting ({call})", uncertain=False)
    if _NO_PLUGIN in text:
        return InvalidConnector(name or "?", {"connector.class": (f"the worker has no such plugin ({_tail(text)})",)})
    if status == requests.codes.conflict and name and text == f"Connector {name} already exists":
        return ConnectorExists(name)
    if status in (408, 409, 425, 429) or status >= 500:
        seconds = response.headers.get("Retry-After", "")
        after = float(seconds) if seconds.isdecimal() else None
        return ConnectAway(where, uncertain=status == 408 or status >= 500, retry_after_s=after)
    if status == requests.codes.forbidden and text.startswith("Topic tracking"):
        return RefusedError(f"{where} The worker's topic.tracking settings decide that.")
    if status in (401, 403, 407):
        return ConnectDenied(f"{where}; check the credentials in connect.url")
    if message is None and status == requests.codes.bad_request and _from_jetty(response):
        return RefusedError(where)  # Its web server itself, for instance a name with a slash in it.
    if message is None or status not in (400, 404):
        return NotConnect(f"{where}; {_CHECK_URL}")
    if status == requests.codes.bad_request:
        return _bad_request(message, where, name)
    unknown = name is not None and "/connectors/" in call and not _NO_TASK.match(text)
    return ConnectorMissing(name, text) if name and unknown else RefusedError(where)


def not_understood(url: str, call: str, why: str) -> NotConnect:
    """A 2xx whose body is none that Connect sends."""
    return NotConnect(f"{url} answers {call} with something that Kafka Connect does not say ({why}); {_CHECK_URL}")


def starting(response: requests.Response) -> bool:
    """The worker's listener is up and its REST application is not: its web server answers 404 in HTML to anything."""
    return response.status_code == requests.codes.not_found and _from_jetty(response) and _message(response) is None


def _from_jetty(response: requests.Response) -> bool:
    return response.headers.get("Server", "").startswith("Jetty") or b"Powered by Jetty" in response.content


def _bad_request(message: str, where: str, name: str | None) -> WakeError:
    if match := _INVALID.search(message):
        lines = (line for line in match["problems"].splitlines() if line and not line.startswith(_SEE_ALSO))
        return InvalidConnector(name or "?", {"": tuple(lines)})
    if "must be in the STOPPED state" in message:
        return ConnectorNotStopped(f"{where} Stop it first and wait until it has no tasks.")
    return RefusedError(where)


def _message(response: requests.Response) -> str | None:
    """What Connect's own error body says, or None for a body that Connect has not written."""
    try:
        return msgspec.json.decode(response.content, type=_ErrorBody).message or ""
    except msgspec.DecodeError:
        return None


class _ErrorBody(msgspec.Struct):
    error_code: int
    message: str | None = None


def _reason(exc: rx.RequestException) -> str:
    """The innermost words of requests' nested messages: `Connection refused`, not the whole pool."""
    inner = exc.args[0] if exc.args else exc
    if isinstance(inner, MaxRetryError) and inner.reason is not None:
        inner = inner.reason
    return _ERRNO.sub("", _line(str(inner)).rsplit(": ", 1)[-1]) or type(exc).__name__


def _unsent(exc: rx.RequestException) -> bool:
    inner = exc.args[0] if exc.args else None
    never_connected = isinstance(inner, MaxRetryError) and isinstance(inner.reason, NewConnectionError)
    return never_connected or isinstance(exc, rx.ConnectTimeout)


def _at(field: str) -> str:
    return f"{field}: " if field else ""


def _tail(text: str) -> str:
    return text[text.index(_NO_PLUGIN) :].partition(", available")[0]


def _line(text: str) -> str:
    return " ".join(text.split())
