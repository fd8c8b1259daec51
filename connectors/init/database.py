"""The database by the URL that a newcomer gives, and the variables that the file will take instead of it."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

import psycopg
from psycopg import conninfo
from pydantic import SecretStr

from connectors import databases
from connectors.databases import Connection
from connectors.init import entities
from wakestream.errors import ConfigurationError

WHAT = "the database to look at"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")


def connected(url: str) -> Connection:
    """A read-only session; a context manager."""
    return databases.reader(SecretStr(url), WHAT, purpose="init")


def source_name(url: str, wanted: str | None) -> str:
    """What the file will call the source: the name that is wanted, or one made of the database's.

    Raises `ConfigurationError` for a name that the file does not allow, or a URL that is none.
    """
    if wanted is None:
        return entities.new_name(_part(url, "dbname") or _part(url, "user") or "source", ())
    if _NAME.fullmatch(wanted) is None:
        raise ConfigurationError(
            f"`{wanted}` cannot name a source: use lower case letters, digits and _, a letter first, at most 41"
        )
    return wanted


def example_url(url: str, role: str) -> str:
    """The URL of another role in the same database, with a word in the password's place."""
    host, port = _part(url, "host") or "HOST", _part(url, "port") or "5432"
    shown = f"[{host}]" if ":" in host else quote(host, safe="/,")
    tls = urlencode({name: found for name in _TLS if (found := _part(url, name))})
    database = quote(_part(url, "dbname") or _part(url, "user"), safe="")
    return f"postgresql://{role}:PASSWORD@{shown}:{port}/{database}{f'?{tls}' if tls else ''}"


def _part(url: str, name: str) -> str:
    try:
        return str(conninfo.conninfo_to_dict(url).get(name) or "")
    except psycopg.ProgrammingError:  # its message repeats the URL with the password
        raise ConfigurationError(f"{WHAT} has no PostgreSQL URL; write postgresql://user@host:5432/database") from None
