from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

import pytest

from cli import supervisor
from cli.supervisor import Supervisor


class Heard:
    """What was reported; does something when a line comes that it waits for."""

    def __init__(self, react: dict[str, Callable[[], None]]) -> None:
        self.lines: list[str] = []
        self._react = react
        self._lock = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        with self._lock:
            self.lines.append(f"{name}: {line}")
            react = self._react.pop(f"{name}: {line}", None)
        if react is not None:
            react()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def stop() -> None:
    os.kill(os.getpid(), signal.SIGINT)


WAITS = "import signal, sys, threading\nsignal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit(0)))\n"
FOREVER = WAITS + "print('up')\nthreading.Event().wait()"


def test_a_signal_ends_all_cleanly() -> None:
    before = signal.getsignal(signal.SIGINT)
    both = threading.Barrier(2, action=stop)

    def up() -> None:
        threading.Thread(target=both.wait, daemon=True).start()

    heard = Heard({"one: up": up, "two: up": up})
    assert Supervisor({"one": python(FOREVER), "two": python(FOREVER)}, heard).run() == 0
    assert {"one: bye", "two: bye", "one: ended", "two: ended"} <= set(heard.lines)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_dies_is_started_again_later_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RESTART_AFTER", (0.01, 0.02, 2.0))
    heard = Heard({"part: ended by signal 9; restarts in 2 s": stop})
    code = "import os, signal\nprint('up', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    assert Supervisor({"part": python(code)}, heard).run() == 0
    assert heard.lines.count("part: up") == 3


def test_a_wrong_configuration_ends_all() -> None:
    heard = Heard({})
    assert Supervisor({"fine": python(FOREVER), "wrong": python("raise SystemExit(2)")}, heard).run() == 2
    assert "wrong: ended with exit code 2: it refuses its configuration, so everything ends" in heard.lines
    assert "fine: ended" in heard.lines


def test_who_does_not_end_is_killed_at_the_second_signal() -> None:
    stubborn = "import signal, threading\nsignal.signal(signal.SIGTERM, lambda *_: print('no'))\nprint('up')\n"
    stubborn += "while True: threading.Event().wait(60)"
    heard = Heard({"part: up": stop, "part: no": stop})
    assert Supervisor({"part": python(stubborn)}, heard).run() == 0
    assert heard.lines[-1] == "part: does not end; killed"


def test_errors_and_output_are_both_shown() -> None:
    code = "import sys\nprint('out', flush=True)\nprint('err', file=sys.stderr, flush=True)\nsys.exit(2)"
    heard = Heard({})
    Supervisor({"part": python(code)}, heard).run()
    assert heard.lines[1:3] == ["part: out", "part: err"]
