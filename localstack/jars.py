"""Kafka, Kafka Connect and Debezium: resolved once by Maven, then kept in the user's cache directory."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from localstack import requirements
from wakestream.errors import FatalError

POM = Path(__file__).with_name("pom.xml")


@dataclass(frozen=True)
class Jars:
    """Where the resolved jars are."""

    directory: Path
    """One set of jars, named by the digest of the pom they were resolved from."""

    @property
    def class_path(self) -> str:
        """Class path of the broker and of Connect."""
        return f"{self.directory / 'lib'}/*"

    @property
    def plugins(self) -> Path:
        """Connect's plugin.path: connectors, outside the worker's class path."""
        return self.directory / "plugins"

    def cached(self) -> bool:
        """Say whether they are there; a directory of this name is always a whole one."""
        return self.directory.is_dir()


def locate() -> Jars:
    """Return where the jars of this version's pom are, or will be."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    return Jars(Path(platformdirs.user_cache_dir("wakestream", appauthor=False)) / f"jars-{digest}")


def fetch(jars: Jars, report: Callable[[str], None]) -> None:
    """Resolve the jars unless they are cached. An interrupted download is never taken for a whole one."""
    if jars.cached():
        return
    maven = requirements.find_maven()
    cache = jars.directory.parent
    requirements.check_disk(cache)
    cache.mkdir(parents=True, exist_ok=True)
    # One at a time: Maven's own repository is not made for two that fill it at once.
    with (cache / "jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.cached():  # else another was waited for, and has fetched them
            report("fetching Kafka, Connect and Debezium with Maven (60 MB, once)")
            _fetch(maven, jars)


def _fetch(maven: str, jars: Jars) -> None:
    with tempfile.TemporaryDirectory(prefix="jars-new-", dir=jars.directory.parent, ignore_cleanup_errors=True) as name:
        building = Path(name)
        shutil.copy(POM, building)
        _resolve(maven, building)
        (building / "ready").mkdir()
        for part in ("lib", "plugins"):
            (building / part).rename(building / "ready" / part)
        (building / "ready").rename(jars.directory)


def _resolve(maven: str, directory: Path) -> None:
    done = subprocess.run([maven, "-B", "-q", "package"], cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    errors = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")]
    raise FatalError(
        "Maven could not fetch Kafka and Debezium (see ~/.m2/settings.xml for proxies and mirrors):\n"
        + "\n".join(errors[:5] or (done.stdout + done.stderr).splitlines()[-5:])
    )
