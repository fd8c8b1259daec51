from __future__ import annotations

import grp
import pwd
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localstack import postgres
from wakestream.errors import FatalError


class Users:
    """The users of a machine; the first two that ask for one ask at the same time."""

    def __init__(self, answer: int = 0) -> None:
        self.made: list[str] = []
        self.groups: list[str] = []
        self._answer = answer
        self._asked = 0
        self._together = threading.Barrier(2, timeout=20)
        self._lock = threading.Lock()

    def getpwnam(self, name: str) -> str:
        found = name in self.made
        with self._lock:
            self._asked += 1
            is_early = self._asked <= 2
        if is_early:
            self._together.wait()
        if not found:
            raise KeyError(name)
        return name

    def getgrnam(self, name: str) -> str:
        if name not in self.groups:
            raise KeyError(name)
        return name

    def useradd(self, argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if self._answer == 0:
            self.made.append(argv[-1])
            self.groups.append(argv[-1])
        return subprocess.CompletedProcess(argv, self._answer, "", "useradd: cannot lock /etc/passwd\n")


def start_both(users: Users, etc: Path, monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    monkeypatch.setattr(postgres, "ETC", etc)
    monkeypatch.setattr(pwd, "getpwnam", users.getpwnam)
    monkeypatch.setattr(grp, "getgrnam", users.getgrnam)
    monkeypatch.setattr(subprocess, "run", users.useradd)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(postgres._make_user, "somebody") for _ in range(2)]
        return [each.exception(30) for each in both]


def test_two_clusters_that_start_together_make_their_user_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second useradd would give the user another number, and the first cluster's files to nobody.
    users = Users()
    assert start_both(users, tmp_path, monkeypatch) == [None, None]
    assert users.made == ["somebody"]


def test_a_user_that_cannot_be_made_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for failure in start_both(Users(answer=1), tmp_path, monkeypatch):
        assert isinstance(failure, FatalError)
        assert "user somebody cannot be made: useradd: cannot lock /etc/passwd" in str(failure)
