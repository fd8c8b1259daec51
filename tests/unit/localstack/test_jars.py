from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localstack import jars
from localstack.jars import Jars
from tests.unit.localstack.test_requirements import program
from wakestream.errors import FatalError

RESOLVES = "mkdir -p lib plugins/debezium && touch lib/kafka.jar plugins/debezium/debezium.jar"


@pytest.fixture
def bin_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return directory


@pytest.fixture
def wanted(tmp_path: Path) -> Jars:
    return Jars(tmp_path / "cache" / "jars-1")


def tell_nobody(_: str) -> None:
    return


def test_the_cache_is_keyed_by_the_pom(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = jars.locate()
    assert before.directory.parent.parent == tmp_path
    changed = tmp_path / "pom.xml"
    changed.write_text(jars.POM.read_text().replace("4.3.1", "4.3.2"))
    monkeypatch.setattr(jars, "POM", changed)
    assert jars.locate() != before


def test_what_maven_resolves_is_kept(bin_directory: Path, wanted: Jars) -> None:
    program(bin_directory, "mvn", RESOLVES)
    jars.fetch(wanted, tell_nobody)
    assert (wanted.directory / "lib" / "kafka.jar").exists()
    assert (wanted.plugins / "debezium" / "debezium.jar").exists()
    assert {path.name for path in wanted.directory.parent.iterdir()} == {"jars-1", "jars.lock"}


def test_two_at_once_resolve_them_once(bin_directory: Path, wanted: Jars, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    program(bin_directory, "mvn", f"echo run >> {runs}; {RESOLVES}")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: jars.fetch(wanted, tell_nobody), range(2)))
    assert wanted.cached()
    assert runs.read_text() == "run\n"


def test_a_warm_cache_needs_no_maven(bin_directory: Path, wanted: Jars, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bin_directory, "mvn", RESOLVES)
    jars.fetch(wanted, tell_nobody)
    monkeypatch.setenv("PATH", "/nowhere")
    jars.fetch(wanted, pytest.fail)


def test_a_failed_download_is_not_kept(bin_directory: Path, wanted: Jars) -> None:
    program(bin_directory, "mvn", f"{RESOLVES}; echo '[ERROR] no route to host'; exit 1")
    with pytest.raises(FatalError, match="no route to host"):
        jars.fetch(wanted, tell_nobody)
    assert not wanted.cached()


def test_a_killed_download_is_not_kept(bin_directory: Path, wanted: Jars) -> None:
    program(bin_directory, "mvn", f"{RESOLVES}; kill -9 $$")
    with pytest.raises(FatalError):
        jars.fetch(wanted, tell_nobody)
    assert not wanted.cached()
