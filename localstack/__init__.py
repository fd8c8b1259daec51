"""The real stack on one machine without Docker: PostgreSQL, Kafka, Connect with Debezium, a local model."""

from __future__ import annotations

from importlib.util import find_spec

from wakestream.errors import ConfigurationError

if find_spec("psutil") is None:
    raise ConfigurationError("the local stack needs packages that are not installed: pip install 'wakestream[local]'")

from localstack.home import default_home, secrets_path
from localstack.parts import PART_NAMES, PartName
from localstack.stack import PartStatus, Stack

__all__ = ["PART_NAMES", "PartName", "PartStatus", "Stack", "default_home", "secrets_path"]
