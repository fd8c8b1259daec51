"""Work in a process of its own, so that writer, readers and measurement never wait for each other's interpreter."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from benchmarks.waiting import PATIENCE
from wakestream.errors import FatalError

P = ParamSpec("P")
T = TypeVar("T")
Ready = Callable[[], None]
"""What a child calls when everything before its work is done: it returns when the work is to begin."""

_spawn = multiprocessing.get_context("spawn")


class Child(Generic[T]):
    """One function at work elsewhere. A context manager: the process is gone when it is left."""

    def __init__(self, work: Callable[Concatenate[Ready, P], T], *args: P.args, **kwargs: P.kwargs) -> None:
        self._name = work.__name__
        self._pipe, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_run, args=(theirs, work, args, kwargs), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Child[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()
        self._pipe.close()

    def wait_ready(self) -> None:
        """Until it has done all that comes before its work."""
        self._receive(PATIENCE)

    def go(self) -> None:
        """Let it begin its work."""
        self._pipe.send(None)

    def result(self, within: float = PATIENCE) -> T:
        """What the function returned. Raises `FatalError` when it failed; its traceback is on stderr."""
        return cast("T", self._receive(within))

    def _receive(self, within: float) -> object:
        if not self._pipe.poll(within):
            raise FatalError(f"`{self._name}` has not answered within {within:.0f} s")
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join()
            raise FatalError(f"`{self._name}` failed with exit code {self._process.exitcode}") from None


def begin(*children: Child[Any]) -> None:
    """Let children begin once all are ready, in this order: what writes comes behind what reads."""
    for child in children:
        child.wait_ready()
    for child in children:
        child.go()


def _run(pipe: Connection, work: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    def ready() -> None:
        pipe.send(None)
        pipe.recv()

    pipe.send(work(ready, *args, **kwargs))
