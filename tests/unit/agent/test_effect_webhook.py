from __future__ import annotations

import base64
import hashlib
import hmac
import inspect
import socket
import threading
from collections.abc import Generator
from typing import Any

import msgspec
import pytest
import requests
from requests import exceptions

from agent.effects import webhook
from agent.effects.outcome import Again, Failed, Pending, Succeeded, Unknown
from agent.effects.webhook import WebhookEffect, WebhookPlan
from agent.testing import Hang, Status, WebhookReceiver
from wakestream import marks
from wakestream.events import Cause

KEY = b"k" * 32
NOW = 1_800_000_000.5
CAUSE = Cause("a/1", "a", "t", ("booking/42",), 1)


@pytest.fixture
def receiver() -> Generator[WebhookReceiver]:
    with WebhookReceiver() as running:
        yield running


@pytest.fixture
def effect() -> WebhookEffect:
    return WebhookEffect({"notify": "whsec_c2VjcmV0", "plain": "pässword"}, KEY, now=lambda: NOW)


def pending(url: str, *, name: str = "notify", idempotent: bool = False, **plan: Any) -> Pending:
    made = WebhookPlan(
        **{"url": url, "body": {"customer": 3, "text": "é"}, "timeout_s": 0.3, "idempotent": idempotent, **plan}
    )
    return Pending("a/1", name, msgspec.structs.asdict(made), CAUSE, None)


def nothing(_: dict[str, Any]) -> None:
    """An intent that is not looked at."""


def test_the_request(effect: WebhookEffect, receiver: WebhookReceiver) -> None:
    order: list[str] = []
    receiver.react = lambda _: order.append("sent")
    outcome = effect.execute(pending(receiver.url), lambda intent: order.append(f"intent {intent['sent_at']}"))
    assert outcome == Succeeded({"status": 200, "body": '{"received": true}'})
    assert order == [f"intent {NOW}", "sent"]
    (seen,) = receiver.seen
    assert seen.body == {"customer": 3, "text": "é"}
    assert seen.headers["idempotency-key"] == seen.headers["webhook-id"] == "a/1"
    assert seen.headers["webhook-timestamp"] == "1800000000"
    signed = b'a/1.1800000000.{"customer":3,"text":"\xc3\xa9"}'
    expected = base64.b64encode(hmac.new(b"secret", signed, hashlib.sha256).digest()).decode()
    assert seen.headers["webhook-signature"] == f"v1,{expected}"
    cause, receipt = marks.verify(KEY, seen.headers["wake-cause"].encode(), txid=0, time_s=NOW)
    assert (cause, receipt) == (CAUSE, False)


def test_secrets_of_both_forms(effect: WebhookEffect, receiver: WebhookReceiver) -> None:
    for name in ("plain", "unsigned"):
        effect.execute(pending(receiver.url, name=name), nothing)
    plain, unsigned = receiver.seen
    signed = b'a/1.1800000000.{"customer":3,"text":"\xc3\xa9"}'
    expected = base64.b64encode(hmac.new("pässword".encode(), signed, hashlib.sha256).digest()).decode()
    assert plain.headers["webhook-signature"] == f"v1,{expected}"
    assert "webhook-signature" not in unsigned.headers


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_busy_receivers_are_tried_again(effect: WebhookEffect, receiver: WebhookReceiver, code: int) -> None:
    receiver.react = lambda _: Status(code, {"Retry-After": "9"})
    assert effect.execute(pending(receiver.url), nothing) == Again(f"the receiver answers {code}", 9.0)


@pytest.mark.parametrize("code", [301, 307, 400, 401, 404, 409, 410, 500, 501])
def test_other_answers_fail(effect: WebhookEffect, receiver: WebhookReceiver, code: int) -> None:
    receiver.react = lambda _: Status(code, {"Location": f"{receiver.url}/elsewhere"}, "x" * 900)
    outcome = effect.execute(pending(receiver.url), nothing)
    assert isinstance(outcome, Failed)
    assert f"the receiver answers {code}" in outcome.reason
    assert outcome.result == {"status": code, "body": "x" * 500}
    assert len(receiver.seen) == 1


def test_nobody_listens(effect: WebhookEffect) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        outcome = effect.execute(pending(url), nothing)
    assert isinstance(outcome, Again)
    assert "cannot be reached" in outcome.reason


@pytest.mark.parametrize(("idempotent", "expected"), [(False, Unknown), (True, Again)])
def test_no_answer_in_time(
    effect: WebhookEffect, receiver: WebhookReceiver, idempotent: bool, expected: type[object]
) -> None:
    receiver.react = lambda _: Hang()
    outcome = effect.execute(pending(receiver.url, idempotent=idempotent), nothing)
    assert isinstance(outcome, expected)
    assert isinstance(outcome, Unknown | Again)
    assert "no answer in time" in outcome.reason


@pytest.mark.parametrize(("idempotent", "expected"), [(False, Unknown), (True, Again)])
def test_an_answer_cut_short(effect: WebhookEffect, idempotent: bool, expected: type[object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def slam() -> None:
            peer, _ = listener.accept()
            peer.recv(65536)
            peer.close()

        thread = threading.Thread(target=slam)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        outcome = effect.execute(pending(url, idempotent=idempotent), nothing)
        thread.join()
    assert isinstance(outcome, expected)


@pytest.mark.parametrize("url", ["nowhere", "ftp://127.0.0.1/x", "http://"])
def test_an_impossible_address_fails(effect: WebhookEffect, url: str) -> None:
    assert isinstance(effect.execute(pending(url), nothing), Failed)


def test_settling_repeats_only_what_may_be_repeated(effect: WebhookEffect, receiver: WebhookReceiver) -> None:
    assert isinstance(effect.settle(pending(receiver.url), nothing), Unknown)
    assert not receiver.seen
    assert isinstance(effect.settle(pending(receiver.url, idempotent=True), nothing), Succeeded)
    assert receiver.keys() == {"a/1": 1}


def every_exception() -> list[type[requests.RequestException]]:
    found = [each for _, each in inspect.getmembers(exceptions, inspect.isclass)]
    return [each for each in found if issubclass(each, requests.RequestException)]


@pytest.mark.parametrize("kind", every_exception(), ids=lambda kind: kind.__name__)
def test_every_exception_of_requests_has_a_home(kind: type[requests.RequestException]) -> None:
    plan = WebhookPlan("http://x", {}, 1.0)
    error = kind.__new__(kind)
    Exception.__init__(error, "said")
    outcome = webhook._of_error(error, plan)
    if issubclass(kind, ValueError):
        assert isinstance(outcome, Failed)
    elif issubclass(kind, exceptions.ConnectTimeout | exceptions.ProxyError | exceptions.SSLError):
        assert isinstance(outcome, Again)
    else:
        assert isinstance(outcome, Unknown)
        assert isinstance(webhook._of_error(error, WebhookPlan("http://x", {}, 1.0, idempotent=True)), Again)
