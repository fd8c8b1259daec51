from __future__ import annotations

import inspect
import threading
from collections.abc import Generator

import httpx2
import openai
import pytest

from agent import model_client, testing
from agent.model_client import ModelBusyError, ModelClient, ModelRefusedError, Request
from agent.testing import Garbage, Hang, Reaction, Say, ScriptedModel, Status
from wakestream.config.models import Model, Price
from wakestream.errors import ConfigurationError, TransientError

ASK = Request([{"role": "user", "content": "?"}], {"type": "object"})


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


def client(server: ScriptedModel, **settings: object) -> ModelClient:
    values = {"base_url": server.url, "name": "m", "timeout": 0.5, "retries": 2, **settings}
    return ModelClient("default", Model.model_validate(values), local_url=None)


@pytest.fixture
def server() -> Generator[ScriptedModel]:
    with ScriptedModel(lambda _: Say("{}")) as running:
        yield running


def script(server: ScriptedModel, *reactions: Reaction) -> None:
    """These in turn, the last for ever."""
    left = list(reactions)
    server.script = lambda _: left.pop(0) if len(left) > 1 else left[0]


def test_asks_for_the_schema_and_counts(server: ScriptedModel, stop: threading.Event) -> None:
    settings = {"price": Price(input=1.0, output=10.0), "temperature": 0.5, "max_tokens": 77}
    answer = client(server, **settings).ask(ASK, stop)
    assert (answer.content, answer.finish, answer.model) == ("{}", "stop", "m")
    assert (answer.tokens_in, answer.tokens_out) == (testing.PROMPT_TOKENS, testing.ANSWER_TOKENS)
    assert answer.cost == pytest.approx((100 * 1.0 + 20 * 10.0) / 1e6)
    assert answer.ms > 0
    (seen,) = server.seen
    assert seen.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "decision", "strict": True, "schema": {"type": "object"}},
    }
    assert (seen.body["temperature"], seen.body["max_tokens"], seen.body["model"]) == (0.5, 77, "m")


@pytest.mark.parametrize(
    "trouble",
    [Status(429, {"retry-after": "0"}), Status(500), Status(503, {"retry-after": "0"}), Status(529), Garbage(), Hang()],
)
def test_passing_trouble_is_tried_again(server: ScriptedModel, stop: threading.Event, trouble: Reaction) -> None:
    script(server, trouble, Say("yes"))
    assert client(server).ask(ASK, stop).content == "yes"
    assert len(server.seen) == 2


def test_pauses_grow(server: ScriptedModel, stop: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(stop, "wait", waited.append)
    script(server, Status(500), Status(429), Say("yes"))
    assert client(server).ask(ASK, stop).content == "yes"
    assert 0.4 <= waited[0] <= 0.5
    assert 0.8 <= waited[1] <= 1.0


@pytest.mark.parametrize("code", [429, 503])
def test_nobody_waits_for_as_long_as_the_server_says(server: ScriptedModel, stop: threading.Event, code: int) -> None:
    script(server, Status(code, {"retry-after": "7"}))
    with pytest.raises(ModelBusyError, match=str(code)) as caught:
        client(server).ask(ASK, stop)
    assert caught.value.after_s == 7.0
    assert len(server.seen) == 1


def test_it_is_tried_as_often_as_configured(server: ScriptedModel, stop: threading.Event) -> None:
    script(server, Status(503, {"retry-after": "0"}))
    with pytest.raises(TransientError, match="503"):
        client(server, retries=3).ask(ASK, stop)
    assert len(server.seen) == 4


def test_the_end_is_not_waited_out(server: ScriptedModel, stop: threading.Event) -> None:
    stop.set()
    script(server, Status(500))
    with pytest.raises(TransientError):
        client(server).ask(ASK, stop)
    assert len(server.seen) == 1


@pytest.mark.parametrize("code", [400, 401, 403, 404, 413, 422])
def test_a_refusal_is_final(server: ScriptedModel, stop: threading.Event, code: int) -> None:
    script(server, Status(code))
    with pytest.raises(ModelRefusedError, match=str(code)):
        client(server).ask(ASK, stop)
    assert len(server.seen) == 1


def test_nobody_listens(server: ScriptedModel, stop: threading.Event) -> None:
    gone = client(server, retries=0)
    server.close()
    with pytest.raises(TransientError, match="cannot be reached"):
        gone.ask(ASK, stop)
    server.__init__(server.script)
    server.start()


def test_a_local_model_needs_its_url() -> None:
    with pytest.raises(ConfigurationError, match="wake model serve"):
        ModelClient("default", Model(provider="local"), local_url=None)
    assert ModelClient("default", Model(provider="local"), local_url="http://127.0.0.1:1/v1").name == "local"


def every_exception() -> list[type[openai.OpenAIError]]:
    """All of the SDK's, whatever module they stand in."""
    found: list[type[openai.OpenAIError]] = [openai.OpenAIError]
    for each in found:
        found += [below for below in each.__subclasses__() if below not in found]
    return found


TRANSIENT = {
    "APIError", "APIConnectionError", "APITimeoutError", "APIResponseValidationError", "ConflictError",
    "RateLimitError", "InternalServerError", "WebSocketConnectionClosedError", "WebSocketQueueFullError",
}  # fmt: skip
REFUSED = {
    "OpenAIError", "BadRequestError", "AuthenticationError", "OAuthError", "PermissionDeniedError", "NotFoundError",
    "UnprocessableEntityError", "APIStatusError", "SubjectTokenProviderError", "LengthFinishReasonError",
    "ContentFilterFinishReasonError", "StreamAlreadyConsumed", "APIRemovedInV1", "MutuallyExclusiveAuthError",
    "_AmbiguousModuleClientUsageError",
}  # fmt: skip
STATUS = {"ConflictError": 409, "RateLimitError": 429, "InternalServerError": 500}


@pytest.mark.parametrize("kind", every_exception(), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_sdk_has_a_home(kind: type[openai.OpenAIError]) -> None:
    """A new one in a newer SDK fails here until somebody has decided where it belongs."""
    name = kind.__name__
    assert (name in TRANSIENT) != (name in REFUSED), f"{name} has no home"
    converted = model_client.convert(_instance(kind))
    assert isinstance(converted, TransientError if name in TRANSIENT else ModelRefusedError)


def _instance(kind: type[openai.OpenAIError]) -> openai.OpenAIError:
    error = kind.__new__(kind)
    Exception.__init__(error, "said")
    if issubclass(kind, openai.APIStatusError):
        status = STATUS.get(kind.__name__, 400)
        error.response = httpx2.Response(status, request=httpx2.Request("POST", "http://m"))  # type: ignore[attr-defined]
        error.status_code = status  # type: ignore[attr-defined]
    return error


def test_the_scripts_are_what_they_say() -> None:
    assert all(inspect.isfunction(each) for each in testing.SCRIPTS.values())
    assert testing.SCRIPTS["error"]({}) == Status(500)
