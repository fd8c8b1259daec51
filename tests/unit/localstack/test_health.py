from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from localstack import health
from wakestream.errors import FatalError

BROKER_LOG = """\
12:00:01 INFO  starting
12:00:02 ERROR [main] Failed to bind
java.net.BindException: Address already in use
    at sun.nio.ch.Net.bind(Net.java:1)
12:00:03 INFO  shutting down
"""


class Server:
    name = "kafka"

    def __init__(self, answers: Iterator[str | None], patience: float = 60.0) -> None:
        self._answers = answers
        self.patience = patience

    def check(self) -> str | None:
        return next(self._answers)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "kafka.log"
    path.write_text(BROKER_LOG)
    return path


def test_it_waits_until_the_server_serves(log: Path) -> None:
    answers = iter(["refused", "starting", None])
    health.wait(Server(answers), psutil.Process(os.getpid()), log)
    assert list(answers) == []


def test_a_server_that_takes_too_long_is_named_with_reason_and_log(log: Path) -> None:
    with pytest.raises(FatalError) as error:
        health.wait(Server(iter(["refused"]), patience=-1), psutil.Process(os.getpid()), log)
    assert str(error.value).startswith("kafka did not come up within -1 s (refused).")
    assert f"Log: {log}" in str(error.value)


def test_a_server_that_ended_is_named_with_what_its_log_says(log: Path) -> None:
    with pytest.raises(FatalError) as error:
        health.wait(Server(iter([])), None, log)
    assert str(error.value) == (
        "kafka ended while it was starting.\n"
        "  12:00:02 ERROR [main] Failed to bind\n"
        "  java.net.BindException: Address already in use\n"
        f"  Log: {log}"
    )


def test_without_an_error_in_the_log_its_end_is_shown(log: Path) -> None:
    log.write_text("one\n\ntwo\nthree\n")
    assert health.telling_lines(log, 2) == ["two", "three"]


def test_a_log_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert health.telling_lines(tmp_path / "none.log", 2) == []
