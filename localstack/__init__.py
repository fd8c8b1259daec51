"""The real stack on one machine without Docker: PostgreSQL, Kafka, Connect with Debezium, a local model."""

from __future__ import annotations

from localstack.home import default_home, secrets_path
from localstack.parts import PART_NAMES, PartName
from localstack.stack import PartStatus, Stack

__all__ = ["PART_NAMES", "PartName", "PartStatus", "Stack", "default_home", "secrets_path"]
