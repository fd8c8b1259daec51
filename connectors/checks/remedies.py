"""The words of remedies that differ between a server of one's own and a managed one."""

from __future__ import annotations

from psycopg import sql

from connectors.services import PLAIN, Service


def quoted(*parts: str) -> str:
    """A name as SQL needs it."""
    return sql.Identifier(*parts).as_string(None)


def literal(text: str) -> str:
    """A text as SQL needs it."""
    return sql.Literal(text).as_string(None).strip()


def own_role(user: str, where: str) -> str:
    """What to do about a role that may too much and is others' too: leave it alone."""
    return f"none: leave {user} as it is; name a role of its own in {where}, which `wake roles` prints the SQL of"


def replication(service: Service, role: str) -> str:
    """How this role is allowed to replicate."""
    if service.replication_role:
        return f"grant {quoted(service.replication_role)} to {quoted(role)};"
    who = f"  -- as a member of {service.superior}" if service.superior else ""
    return f"alter role {quoted(role)} replication;{who}"


def logical(service: Service) -> str:
    """How logical decoding is switched on."""
    if service is PLAIN:
        return setting(service, "wal_level", "logical", restart=True)
    return f"setting: {service.switch} ({service.name})"


def setting(service: Service, name: str, value: str, *, restart: bool = False) -> str:
    """How a setting of the server is changed."""
    if service is not PLAIN:
        then = ", then restart the server" if restart else ""
        return f"setting: {name} = {value} among the parameters of {service.name}{then}"
    change = f"alter system set {name} = {literal(value)};"
    return f"{change}  -- then restart the server" if restart else f"{change}\nselect pg_reload_conf();"
