"""What a check says when it finds something, and the list of all checks, which `docs/reference/checks.md` explains."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["error", "warning"]

GROUPS = ("server", "roles", "tables", "types", "publication", "slot", "ledger", "kafka", "connect", "adopt")
"""In the order in which they are shown."""

CHECKS: dict[str, Level] = {
    "server.unreachable": "error",
    "server.pooler": "error",
    "server.version": "error",
    "server.standby": "error",
    "server.wal_level": "error",
    "server.slots": "error",
    "server.walsenders": "error",
    "server.encoding": "warning",
    "server.wal_unlimited": "warning",
    "server.wal_rate": "warning",
    "server.wal_sender_timeout": "warning",
    "server.idle_slot_timeout": "warning",
    "server.long_transaction": "warning",
    "server.prepared_transaction": "warning",
    "server.unanswered": "error",
    "roles.replication": "error",
    "roles.usage": "error",
    "roles.select": "error",
    "roles.select_columns": "error",
    "roles.superuser": "warning",
    "roles.powers": "warning",
    "roles.writes": "warning",
    "roles.timeouts": "warning",
    "roles.expires": "warning",
    "roles.connection_limit": "warning",
    "roles.admin_unreachable": "error",
    "roles.admin_owner": "error",
    "roles.admin_create": "error",
    "roles.admin_publication": "error",
    "roles.connection_unreachable": "error",
    "roles.connection_denied": "error",
    "roles.connection_powers": "warning",
    "roles.unanswered": "error",
    "tables.missing": "error",
    "tables.name": "error",
    "tables.view": "error",
    "tables.foreign": "error",
    "tables.unlogged": "error",
    "tables.inheritance": "error",
    "tables.partition": "error",
    "tables.no_key": "error",
    "tables.identity_nothing": "error",
    "tables.identity_index": "error",
    "tables.row_security": "error",
    "tables.toast": "warning",
    "tables.generated": "warning",
    "tables.large": "warning",
    "tables.drift": "error",
    "tables.withheld": "warning",
    "tables.unfollowed": "warning",
    "tables.unanswered": "error",
    "types.key": "error",
    "types.lost": "warning",
    "types.dimensions": "warning",
    "types.infinity": "warning",
    "types.unanswered": "error",
    "publication.missing": "error",
    "publication.all_tables": "error",
    "publication.operations": "error",
    "publication.via_root": "error",
    "publication.table_missing": "error",
    "publication.table_surplus": "warning",
    "publication.row_filter": "error",
    "publication.column_list": "error",
    "publication.excluded_column": "warning",
    "publication.breaks_writes": "error",
    "publication.all_tables_elsewhere": "warning",
    "publication.unanswered": "error",
    "slot.left_over": "error",
    "slot.foreign": "error",
    "slot.unusable": "error",
    "slot.missing": "error",
    "slot.lost": "error",
    "slot.inactive": "warning",
    "slot.retained": "warning",
    "slot.unanswered": "error",
    "ledger.unreachable": "error",
    "ledger.version": "error",
    "ledger.schema": "error",
    "ledger.same_database": "error",
    "ledger.same_cluster": "warning",
    "ledger.pgvector": "warning",
    "ledger.lookups": "error",
    "ledger.lookups_powers": "warning",
    "ledger.unanswered": "error",
    "kafka.unreachable": "error",
    "kafka.partitions": "error",
    "kafka.context_partitions": "error",
    "kafka.compacted": "error",
    "kafka.settings": "warning",
    "kafka.retention": "warning",
    "kafka.message_size": "warning",
    "kafka.min_insync": "error",
    "kafka.replication": "warning",
    "kafka.readers": "warning",
    "kafka.unanswered": "error",
    "connect.unreachable": "error",
    "connect.version": "error",
    "connect.plugin": "error",
    "connect.plugin_version": "error",
    "connect.kafka_cluster": "error",
    "connect.secrets_provider": "error",
    "connect.secrets_file": "error",
    "connect.credentials": "error",
    "connect.source_unreachable": "error",
    "connect.slot_shared": "error",
    "connect.failed": "error",
    "connect.not_running": "warning",
    "connect.offset_flush": "warning",
    "connect.unanswered": "error",
    "adopt.missing": "error",
    "adopt.not_debezium": "error",
    "adopt.failed": "error",
    "adopt.not_running": "warning",
    "adopt.unreadable": "error",
    "adopt.table_missing": "error",
    "adopt.unpublished": "error",
    "adopt.key": "error",
    "adopt.changed": "error",
    "adopt.values": "warning",
    "adopt.truncates": "warning",
    "adopt.placeholder": "warning",
    "adopt.skips": "warning",
    "adopt.topic_missing": "warning",
    "adopt.compacted": "warning",
    "adopt.unanswered": "error",
}
"""Every check and how bad it is when it finds something."""


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong, what shows it, and what to do about it."""

    id: str
    object: str
    """`airline.public.flight`; without a configuration there is no source's name before it."""
    level: Level
    evidence: str
    remedy: str
    """SQL to paste, a statement a line; or lines after `wake.yaml:`, `setting:`, `worker:`, `connector:`, `run:` or
    `none:`."""

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


def finding(id: str, object: str, evidence: str, remedy: str) -> Finding:
    """A finding with the level that its check has."""
    return Finding(id, object, CHECKS[id], evidence, remedy)


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(number) < 10 * 1024 or unit == "GB":
            return f"{number:.0f} {unit}"
        number /= 1024
    raise AssertionError


def span(seconds: float) -> str:
    """A duration for people."""
    for length, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
