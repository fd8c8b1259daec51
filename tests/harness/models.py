"""A scripted model server that decides by what the prompt says, and can keep an answer back."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.testing import Reaction, ScriptedModel, Status
from tests.harness.waiting import eventually

PROMPT = "Row {{ key.id }}: {{ after.say }}\n"
"""The instructions that tell this server which row it is asked about, and what the row has it say."""

_ROW = re.compile(r"^Row (\d+): (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Call:
    """One question that arrived."""

    row: int
    say: str
    at: float
    """`time.time()` at its arrival: the clock that PostgreSQL on the same machine has too."""
    request: dict[str, Any]


Rule = Callable[[Call], Reaction]


class RuledModel:
    """Answers each question by a rule over the row it is about; a context manager that serves until it is left."""

    def __init__(self, rule: Rule, *, port: int = 0) -> None:
        self.rule = rule
        self.calls: list[Call] = []
        self._server = ScriptedModel(self._react, port=port)
        self._open = threading.Event()
        self._open.set()
        self._waiting = Counter[int]()

    @property
    def url(self) -> str:
        return self._server.url

    def __enter__(self) -> RuledModel:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._server.close()

    def calls_about(self, row: int) -> list[Call]:
        return [call for call in list(self.calls) if call.row == row]

    def hold(self) -> None:
        """Keep every answer back from now on."""
        self._waiting.clear()
        self._open.clear()

    def wait_held(self) -> list[int]:
        """Until a question waits for its answer; returns the rows that wait."""
        return eventually(lambda: sorted(self._waiting), "a question that waits for its answer")

    def release(self) -> None:
        self._open.set()

    def _react(self, request: dict[str, Any]) -> Reaction:
        if not request:  # whoever asked was killed over it
            return Status(400)
        row, say = _ROW.findall(request["messages"][0]["content"])[-1]
        call = Call(int(row), say, time.time(), request)
        self.calls.append(call)
        if not self._open.is_set():
            self._waiting[call.row] += 1
            self._open.wait()
        return self.rule(call)
