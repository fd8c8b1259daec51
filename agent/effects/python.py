"""A call of a function in this process."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from agent import json_text
from agent.effects.outcome import Again as TryAgain
from agent.effects.outcome import Failed, Material, Outcome, Pending, Recorder, Setting, Succeeded, Unknown
from wakestream import marks
from wakestream.config.actions import PythonAction
from wakestream.entry_points import Again, Context
from wakestream.errors import ConfigurationError
from wakestream.failpoint import reach

Function = Callable[[dict[str, Any], Context], Any]


class PythonPlan(msgspec.Struct, frozen=True):
    """The effect as the ledger keeps it."""

    call: str
    values: dict[str, Any]
    timeout_s: float
    idempotent: bool = False


class PythonEffect:
    """Executes and settles calls of functions."""

    _under_way: dict[str, threading.Thread] = {}  # noqa: RUF012 - one for all workers of the process, and meant so
    """Calls by action that have not returned: none is begun again beside itself."""

    def __init__(self, functions: Mapping[str, Function], mark_key: bytes) -> None:
        self._functions = functions
        self._mark_key = mark_key

    @classmethod
    def open(cls, setting: Setting) -> PythonEffect:
        """With every configured function imported."""
        settings = {n: each for n, each in setting.config.actions.items() if isinstance(each, PythonAction)}
        return cls({each.call: load(name, each.call) for name, each in settings.items()}, setting.mark_key)

    @staticmethod
    def plan(material: Material) -> dict[str, Any]:
        """The function and its values."""
        settings = cast("PythonAction", material.action.settings)
        plan = PythonPlan(settings.call, material.values, settings.timeout, settings.idempotent)
        return msgspec.structs.asdict(plan)

    def execute(self, action: Pending, record: Recorder) -> Outcome:
        """Call it once, and wait for it as long as its time allows."""
        plan = msgspec.convert(action.effect, PythonPlan)
        function = self._functions.get(plan.call)
        if function is None:
            return Failed(f"the configuration has no call of `{plan.call}` any more")
        earlier = self._under_way.get(action.id)
        if earlier is not None and earlier.is_alive():
            return TryAgain(f"an earlier call of {plan.call} still runs")
        record({"called_at": time.time()})
        reach("agent.6.before_call")
        action.hold()
        outcomes: list[Outcome] = []
        context = self._context(action)
        thread = threading.Thread(
            target=lambda: outcomes.append(_call(function, plan.values, context)), name=f"call {action.id}", daemon=True
        )
        self._under_way[action.id] = thread
        thread.start()
        thread.join(plan.timeout_s)
        if not thread.is_alive():
            self._under_way.pop(action.id, None)
        reach("agent.6.after_call")
        if outcomes:
            return outcomes[0]
        reason = f"{plan.call} did not return within {plan.timeout_s:g} s"
        return TryAgain(reason) if plan.idempotent else Unknown(f"{reason}; it may still take effect")

    def settle(self, action: Pending, record: Recorder) -> Outcome:
        """Repeat what may be repeated; for the rest nobody knows."""
        if msgspec.convert(action.effect, PythonPlan).idempotent:
            return self.execute(action, record)
        return Unknown("an earlier attempt was cut short while it was called")

    def _context(self, action: Pending) -> Context:
        cause = action.cause
        token = marks.sign_relay(self._mark_key, cause, time.time())
        return Context(action.id, action.name, cause.run, cause.trigger, cause.keys, cause.depth, token)


def load(action: str, call: str) -> Function:
    """The function. Raises `ConfigurationError` where there is none."""
    module, _, name = call.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigurationError(
            f"actions.{action}.call: `{module}` cannot be imported ({error}); install it where the agent runs"
        ) from error
    except AttributeError as error:
        raise ConfigurationError(f"actions.{action}.call: module `{module}` has no function `{name}`") from error
    if not callable(function):
        raise ConfigurationError(f"actions.{action}.call: `{call}` is not a function")
    return cast("Function", function)


def _call(function: Function, values: dict[str, Any], context: Context) -> Outcome:
    try:
        returned = function(values, context)
    except Again as error:
        return TryAgain(error.reason, error.after_s)
    except Exception as error:  # noqa: BLE001 - whatever it raises is the function's own and ends with it
        return Failed(f"{type(error).__name__}: {error}")
    return Succeeded({"returned": _plain(returned)})


def _plain(returned: Any) -> Any:
    """What it returned as JSON, or as text where it is none."""
    try:
        return json_text.load(json_text.dump(returned))
    except (TypeError, ValueError):
        return str(returned)
