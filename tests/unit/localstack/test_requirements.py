from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from localstack import requirements
from localstack.stack import Stack
from wakestream.errors import ConfigurationError


def program(directory: Path, name: str, script: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty directory that is the whole PATH."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_without_java_the_message_says_how_to_get_it(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is none.*apt-get install.*JAVA_HOME") as error:
        requirements.check_java()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("said", "found"), [("1.8.0_402", "is Java 8"), ("11.0.2", "is Java 11"), ("x", "does not")])
def test_an_old_java_is_refused(path: Path, said: str, found: str) -> None:
    java = program(path, "java", f"echo 'openjdk version \"{said}\"' >&2")
    with pytest.raises(ConfigurationError, match=f"{java} {found}"):
        requirements.check_java()


@pytest.mark.parametrize("said", ["17", "17.0.15", "21-ea", "25.0.1"])
def test_a_java_that_is_new_enough_is_taken(path: Path, said: str) -> None:
    program(path, "java", f"echo 'openjdk version \"{said}\" 2025-04-15' >&2")
    requirements.check_java()


def test_java_home_comes_before_the_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path, "java", "")
    home = path / "jdk"
    (home / "bin").mkdir(parents=True)
    chosen = program(home / "bin", "java", "")
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert requirements.find_java() == str(chosen)


def test_without_maven_the_message_says_how_to_get_it(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="apt-get install maven"):
        requirements.find_maven()


def test_without_postgres_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(_name: str) -> None:
        return

    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)
    with pytest.raises(ConfigurationError, match=r"pip install 'wakestream\[local\]'"):
        requirements.find_postgres()


def test_postgres_is_found_with_its_programs() -> None:
    programs = requirements.find_postgres()
    assert all((programs / name).exists() for name in ("postgres", "initdb"))


def test_a_full_disk_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nearly_full(_path: Path) -> SimpleNamespace:
        return SimpleNamespace(total=10**12, used=10**12, free=10**9)

    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    home = tmp_path / "not" / "there"
    with pytest.raises(ConfigurationError, match=rf"2.0 GB of disk space are needed and {tmp_path} has 0.9"):
        Stack(home).up()
    assert not (tmp_path / "not").exists()
