"""Managed PostgreSQL services, recognised by the roles they leave in every database."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.databases import Connection


@dataclass(frozen=True, slots=True)
class Service:
    """How one service lets a role replicate, and what switches logical decoding on."""

    name: str
    marks: tuple[str, ...]
    """Roles that only this service has."""
    superior: str | None
    """The role whose members may do there what a superuser does elsewhere; None where only a superuser may."""
    replication_role: str | None
    """The role whose members may replicate; None where the attribute REPLICATION says so."""
    switch: str
    """What sets `wal_level = logical`."""
    note: str = ""
    """What else is otherwise there."""


PLAIN = Service(
    "PostgreSQL", (), None, None, "set wal_level = logical in postgresql.conf (alter system) and restart the server"
)
SERVICES = (
    Service(
        "Amazon RDS or Aurora",
        ("rds_superuser", "rdsadmin"),
        "rds_superuser",
        "rds_replication",
        "set rds.logical_replication = 1 in the parameter group and reboot; on Aurora in the cluster's, for the writer",
        "RDS writes WAL of its own, so a slot that nobody reads grows even when the applications rest",
    ),
    Service(
        "Google Cloud SQL",
        ("cloudsqlsuperuser", "cloudsqladmin"),
        "cloudsqlsuperuser",
        None,
        "set the flag cloudsql.logical_decoding = on, which restarts the instance",
    ),
    Service(
        "Azure Database for PostgreSQL",
        ("azure_pg_admin", "azuresu"),
        "azure_pg_admin",
        None,
        "set the server parameter wal_level = logical and restart the server",
        "max_slot_wal_keep_size cannot be set, so only `wake guard` stands between a forgotten slot and the disk",
    ),
    Service(
        "Supabase",
        ("supabase_admin", "supabase_auth_admin"),
        "postgres",
        None,
        "nothing to do: wal_level is logical",
        "use the direct connection, not the pooler; below PostgreSQL 17 only the role postgres may make slots,"
        " so let it be `capture` there",
    ),
    Service(
        "Neon",
        ("neon_superuser", "neondb_owner"),
        "neon_superuser",
        None,
        "enable logical replication in the project's settings; it cannot be disabled again",
        "use the host without -pooler; a slot that nobody reads is dropped after about 40 hours",
    ),
)


def recognise(connection: Connection) -> Service:
    """The service that runs this server, or plain PostgreSQL."""
    rows = connection.execute(
        "select rolname::text from pg_roles where rolname = any(%s)",
        ([mark for service in SERVICES for mark in service.marks],),
    ).fetchall()
    found = {row[0] for row in rows}
    return next((service for service in SERVICES if found & set(service.marks)), PLAIN)
