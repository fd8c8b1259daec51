"""Asks a model for one JSON object, on any server that speaks OpenAI's chat completions."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec
import openai
from openai.types.chat import ChatCompletion

from agent import backoff
from wakestream import config
from wakestream.config.models import Model
from wakestream.errors import ConfigurationError, EventError, TransientError, WakeError

logger = logging.getLogger(__name__)

LOCAL_NAME = "local"
_RETRIED_STATUSES = {408, 409, 425, 429}


class ModelRefusedError(EventError):
    """The server understood and refuses: the key, the model's name or the request is wrong. Asking again is no use."""


class ModelBusyError(TransientError):
    """The server says when it may be asked again: until then nobody is to ask it.

    Raise `TransientError` instead when it does not say.
    """

    def __init__(self, message: str, after_s: float) -> None:
        self.after_s = after_s
        super().__init__(message, retry_after_s=after_s)


class Request(msgspec.Struct, frozen=True):
    """What is asked: the messages, and the schema that the answer must fit."""

    messages: list[dict[str, Any]]
    answer_schema: dict[str, Any]
    tools: list[dict[str, Any]] = []
    """Lookups that the model may call as tools."""


class ToolCall(msgspec.Struct, frozen=True):
    """A lookup that the model calls as a tool."""

    id: str
    name: str
    arguments: str
    """JSON, or what the model takes for it."""


class Answer(msgspec.Struct, frozen=True):
    """What the model said, and what it took."""

    content: str
    finish: str
    model: str
    tokens_in: int
    tokens_out: int
    ms: float
    cost: float
    calls: tuple[ToolCall, ...] = ()


class ModelClient:
    """One configured model. Safe to share between threads."""

    def __init__(self, name: str, settings: Model, *, local_url: str | None) -> None:
        base_url = settings.base_url or local_url
        if base_url is None:
            raise ConfigurationError(
                f"models.{name}: `provider: local` needs a served model: run `wake model serve` and export MODEL_URL"
            )
        self.name = settings.name or LOCAL_NAME
        self._settings = settings
        self._key, self._local_url = name, local_url
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=config.reveal(settings.api_key) if settings.api_key else "none",
            timeout=settings.timeout,
            max_retries=0,  # ours are counted, wait for what the server says, and end when the process does
        )

    def ask(self, request: Request, stop: threading.Event, hold: Callable[[], None] = lambda: None) -> Answer:
        """The model's answer, whatever it is worth. `hold` raises where it is not ours to ask any more.

        Tries again on passing trouble as often as the configuration says. Raises `TransientError` when that was in
        vain or the process ends, `ModelBusyError` when the server says how long to wait, which no worker waits for,
        `ModelRefusedError` when asking again is no use.
        """
        failures = 0
        while True:
            hold()
            try:
                return self._ask(request)
            except ModelBusyError:
                raise
            except TransientError as error:
                failures += 1
                if failures > self._settings.retries:
                    raise
                delay = backoff.pause(failures)
                logger.info("The model is asked again in %.1f s: %s", delay, error, extra={"action": "model_retry"})
                if stop.wait(delay):
                    raise

    def under(self, settings: Model) -> ModelClient:
        """The same model with other settings; itself where they are the same."""
        return self if settings == self._settings else ModelClient(self._key, settings, local_url=self._local_url)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, request: Request) -> Answer:
        settings, began = self._settings, time.perf_counter()
        schema = {"name": "decision", "strict": True, "schema": request.answer_schema}
        body = {
            **{"model": self.name, "messages": request.messages},
            **{"temperature": settings.temperature, "max_tokens": settings.max_tokens},
            "response_format": {"type": "json_schema", "json_schema": schema},
            **({"tools": request.tools} if request.tools else {}),
        }
        try:
            # What `chat.completions.create` posts, without its walk through messages and schema by their types, which
            # takes as long as everything else that it does.
            completion = self._client.post("/chat/completions", cast_to=ChatCompletion, body=body)
        except openai.OpenAIError as error:
            raise convert(error) from error
        except (json.JSONDecodeError, RecursionError) as error:  # the SDK lets them through where it is said to be JSON
            raise TransientError(f"the model's server sent no completion: {error}") from error
        return self._answer(completion, (time.perf_counter() - began) * 1000)

    def _answer(self, completion: ChatCompletion, ms: float) -> Answer:
        # Servers that are only nearly compatible send what the SDK's types do not allow.
        choices = cast("list[Any]", getattr(completion, "choices", None) or [])
        if not choices:
            raise TransientError("the model's server sent a completion without a choice")
        usage, price = getattr(completion, "usage", None), self._settings.price
        tokens_in, tokens_out = getattr(usage, "prompt_tokens", 0) or 0, getattr(usage, "completion_tokens", 0) or 0
        return Answer(
            content=getattr(getattr(choices[0], "message", None), "content", None) or "",
            finish=getattr(choices[0], "finish_reason", None) or "",
            model=getattr(completion, "model", None) or self.name,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            ms=round(ms, 1),
            calls=_calls(choices[0]),
            cost=(tokens_in * price.input + tokens_out * price.output) / 1e6,
        )


def _calls(choice: Any) -> tuple[ToolCall, ...]:
    found = cast("list[Any]", getattr(getattr(choice, "message", None), "tool_calls", None) or [])
    called = ((str(getattr(each, "id", "")), getattr(each, "function", None)) for each in found)
    return tuple(
        ToolCall(identity, str(getattr(function, "name", "")), str(getattr(function, "arguments", "") or ""))
        for identity, function in called
    )


def convert(error: openai.OpenAIError) -> WakeError:
    """Our error for one of the SDK's: again later, or never."""
    text = str(error).strip() or type(error).__name__
    match error:
        case openai.APITimeoutError():
            return TransientError("the model did not answer in time; see `timeout` of the model")
        case openai.APIConnectionError():
            return TransientError(f"the model's server cannot be reached: {_root(error)}")
        case openai.APIResponseValidationError():
            return TransientError(f"the model's server sent no completion: {text}")
        case openai.APIStatusError() if error.status_code >= 500 or error.status_code in _RETRIED_STATUSES:
            message = f"the model's server answers {error.status_code}: {text}"
            after = _retry_after(error.response.headers)
            return ModelBusyError(message, after) if after else TransientError(message)
        case openai.APIStatusError():
            return ModelRefusedError(f"the model's server answers {error.status_code}", detail=text)
        case openai.APIError() | openai.WebSocketConnectionClosedError() | openai.WebSocketQueueFullError():
            return TransientError(f"the model's server sent no completion: {text}")
        case _:
            return ModelRefusedError("the model cannot be asked", detail=text)


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def _retry_after(headers: Mapping[str, str]) -> float | None:
    with contextlib.suppress(KeyError, ValueError):
        return min(max(float(headers["retry-after"]), 0.0), 300.0)
    return None
