"""Lookups of kind `http`: one GET, bounded in time and size, whose answer is JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
import requests

from agent import json_text
from wakestream import config, program_url
from wakestream.config.lookups import HttpLookup
from wakestream.errors import EventError, TransientError
from wakestream.events import key_text

AGAIN_STATUSES = {408, 425, 429, 500, 502, 503, 504}
NOTHING_STATUSES = {204, 404, 410}
CHUNK = 16 * 1024  # bytes


def get(name: str, settings: HttpLookup, values: Mapping[str, Any]) -> Any:
    """The answer as JSON; None where there is nothing at that address.

    Raises `TransientError` for passing trouble, `EventError` when asking again is no use.
    """
    url = address(name, settings.url, values)
    headers = {field: config.reveal(value) for field, value in settings.headers.items()}
    deadline = time.monotonic() + settings.timeout
    try:
        with requests.get(
            url,
            headers={"Accept": "application/json", "User-Agent": "wakestream", **headers},
            timeout=settings.timeout,
            allow_redirects=False,
            stream=True,
        ) as response:
            if response.status_code in NOTHING_STATUSES:
                return None
            _check(name, response)
            content = _body(name, response, settings.size, deadline)
    except requests.RequestException as error:
        if isinstance(error, ValueError):  # requests gives its complaints about URLs and headers this family too
            raise EventError(f"lookup {name} cannot be asked", detail=str(error)) from error
        raise TransientError(f"lookup {name}: no answer: {type(error).__name__}") from error
    try:
        return json_text.load(content)
    except msgspec.DecodeError as error:
        raise EventError(f"lookup {name} was not answered with JSON", detail=str(error)) from error


def address(name: str, template: str, values: Mapping[str, Any]) -> str:
    """The URL with every value percent-encoded, so that no value can be more than a part of the address."""
    encoded: dict[str, str] = {}
    for field, value in values.items():
        text = "" if value is None else key_text(value)
        if text in ("", ".", ".."):
            raise EventError(f"lookup {name}: `{field}` is `{text}`, which would change the address")
        encoded[field] = quote(text, safe="")
    return program_url.fill(template, encoded)


def _check(name: str, response: requests.Response) -> None:
    status = response.status_code
    if status in AGAIN_STATUSES:
        raise TransientError(f"lookup {name}: the server answers {status}")
    if not 200 <= status < 300:
        why = "; redirects are not followed" if 300 <= status < 400 else ""
        raise EventError(f"lookup {name}: the server answers {status}{why}")


def _body(name: str, response: requests.Response, limit: int, deadline: float) -> bytes:
    parts, size = list[bytes](), 0
    for part in response.iter_content(CHUNK):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise EventError(f"lookup {name}: the answer is larger than {limit} bytes; see its `size`")
        if time.monotonic() > deadline:
            raise TransientError(f"lookup {name}: the answer took too long")
    return b"".join(parts)
