from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agent.effects import python
from agent.effects.outcome import Again as TryAgain
from agent.effects.outcome import Failed, Outcome, Pending, Succeeded, Unknown
from agent.effects.python import PythonEffect, PythonPlan
from wakestream import marks
from wakestream.entry_points import Again, Context
from wakestream.errors import ConfigurationError
from wakestream.events import Cause

KEY = b"k" * 32
CAUSE = Cause("a/1", "a", "t", ("booking/42",), 1)


def pending(*, idempotent: bool = False, timeout: float = 20.0) -> Pending:
    plan = PythonPlan("shop:refund", {"customer": 3}, timeout, idempotent)
    return Pending("a/1", "refund", msgspec.structs.asdict(plan), CAUSE, None)


def effect(function: Callable[[dict[str, Any], Context], Any]) -> PythonEffect:
    return PythonEffect({"shop:refund": function}, KEY)


def done(function: Callable[[dict[str, Any], Context], Any]) -> Outcome:
    return effect(function).execute(pending(), lambda _: None)


def test_a_call() -> None:
    order: list[Any] = []

    def refund(values: dict[str, Any], context: Context) -> Any:
        order.append((values, context))
        return {"refunded": 12.5}

    outcome = effect(refund).execute(pending(), lambda intent: order.append(list(intent)))
    assert outcome == Succeeded({"returned": {"refunded": 12.5}})
    intent, (values, context) = order
    assert (intent, values) == (["called_at"], {"customer": 3})
    assert (context.action, context.name, context.run, context.keys) == ("a/1", "refund", "a", ("booking/42",))
    cause, receipt = marks.verify(KEY, context.cause.encode(), txid=1, time_s=0)
    assert (cause, receipt) == (CAUSE, False)


def _raising(error: Exception) -> Callable[[dict[str, Any], Context], Any]:
    def function(_: dict[str, Any], __: Context) -> Any:
        raise error

    return function


def test_what_a_function_says() -> None:
    assert done(_raising(ValueError("no such customer"))) == Failed("ValueError: no such customer")
    assert done(_raising(Again("busy", 7.0))) == TryAgain("busy", 7.0)
    assert done(lambda _, __: object()).result["returned"].startswith("<object")  # type: ignore[union-attr]
    assert done(lambda _, __: None) == Succeeded({"returned": None})


@pytest.mark.parametrize("idempotent", [False, True])
def test_one_that_does_not_return_in_time_is_never_called_beside_itself(idempotent: bool) -> None:
    release, calls = threading.Event(), list[int]()

    def slow(_: dict[str, Any], __: Context) -> None:
        calls.append(1)
        release.wait(60)

    made = effect(slow)
    outcome = made.execute(pending(idempotent=idempotent, timeout=0.01), lambda _: None)
    reason = "shop:refund did not return within 0.01 s"
    assert outcome == (TryAgain(reason) if idempotent else Unknown(f"{reason}; it may still take effect"))
    again = effect(slow).execute(pending(idempotent=idempotent, timeout=0.01), lambda _: None)
    assert again == TryAgain("an earlier call of shop:refund still runs")
    assert calls == [1]
    earlier = python.PythonEffect._under_way["a/1"]
    release.set()
    earlier.join(60)
    assert made.execute(pending(), lambda _: None) == Succeeded({"returned": None})
    assert "a/1" not in python.PythonEffect._under_way


def test_after_a_crash() -> None:
    called = effect(lambda _, __: "done")
    assert isinstance(called.settle(pending(), lambda _: None), Unknown)
    assert called.settle(pending(idempotent=True), lambda _: None) == Succeeded({"returned": "done"})


def test_functions_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("shop_for_tests")
    module.__dict__["price"] = 3
    monkeypatch.setitem(sys.modules, "shop_for_tests", module)
    for call, message in {
        "no_such_module_at_all:refund": "`no_such_module_at_all` cannot be imported",
        "shop_for_tests:refund": "module `shop_for_tests` has no function `refund`",
        "shop_for_tests:price": "`shop_for_tests:price` is not a function",
    }.items():
        with pytest.raises(ConfigurationError, match=f"actions.refund.call: {message}"):
            python.load("refund", call)
    gone = PythonEffect({}, KEY).execute(pending(), lambda _: None)
    assert gone == Failed("the configuration has no call of `shop:refund` any more")
