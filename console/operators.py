"""Operators: people and their tokens. A token is shown once; the ledger keeps its SHA-256, safe by its entropy."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tempfile
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from console import records, sessions
from wakestream import ledger
from wakestream.errors import RefusedError
from wakestream.ledger.models import Audit, Operator

LOCAL = "local"
TOKEN_PREFIX = "wake_"  # noqa: S105 - by which scanners find a token that leaked
TOKEN_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


def new_token() -> str:
    """A token that nobody can guess."""
    return TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def hash_of(token: str) -> str:
    """What the ledger keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def authenticate(session: Session, token: str | None) -> Operator:
    """The operator whose token this is; revoking waits until this transaction ends.

    Raises `RefusedError` without a token, and for one that is unknown or revoked.
    """
    if not token:
        raise RefusedError(
            "no token: export WAKE_TOKEN=… with your own (`wake operator add NAME` makes one, "
            "`wake stack env` has the local stack's)"
        )
    digest = hash_of(token)
    everybody = session.scalars(select(Operator).with_for_update(read=True)).all()
    known = [operator for operator in everybody if hmac.compare_digest(operator.token_hash, digest)]
    if not known:
        raise RefusedError("the token in WAKE_TOKEN is not known to this ledger; `wake operator list` has who is")
    if known[0].revoked_at is not None:
        raise RefusedError(
            f"the token in WAKE_TOKEN was revoked on {records.moment(known[0].revoked_at)}: it was {known[0].name}'s"
        )
    return known[0]


def add(session: Session, name: str, *, by: str) -> str:
    """Make an operator and return their token, which cannot be shown again.

    Raises `RefusedError` for a name that was given before: decisions bear it.
    """
    if _NAME.fullmatch(name) is None:
        raise RefusedError(f"`{name}` cannot be an operator's name; use letters, digits and . _ @ + -")
    found = session.get(Operator, name)
    if found is not None:
        since = f"was revoked on {records.moment(found.revoked_at)}" if found.revoked_at else "exists already"
        raise RefusedError(f"operator `{name}` {since}; past decisions bear that name, choose another")
    token = new_token()
    session.add(Operator(name=name, token_hash=hash_of(token)))
    session.add(Audit(who=by, what="operator.add", ids=[f"operator/{name}"]))
    return token


def revoke(session: Session, name: str, *, by: str) -> None:
    """Make a token worthless from now on.

    Raises `RefusedError` for an unknown name and for one revoked before.
    """
    found = session.get(Operator, name, with_for_update=True)
    if found is None:
        names = ", ".join(f"`{each}`" for each in session.scalars(select(Operator.name).order_by(Operator.name)))
        raise RefusedError(f"no operator `{name}`" + (f"; there are: {names}" if names else "; there is nobody yet"))
    if found.revoked_at is not None:
        raise RefusedError(f"operator `{name}` was revoked already, on {records.moment(found.revoked_at)}")
    found.revoked_at = session.scalar(select(func.clock_timestamp()))
    session.add(Audit(who=by, what="operator.revoke", ids=[f"operator/{name}"]))


def ensure_local_admin(ledger_url: str, token_file: Path) -> None:
    """Bring a ledger of our own up to date and make its operator `local`, with the token in a file only we can read.

    A token that is in the file already stays valid, also for a new ledger. Who revoked `local` meant it.
    """
    ledger.migrate(ledger_url)
    with sessions.transaction(sessions.open_ledger(ledger_url)) as session:
        token = token_file.read_text().strip() if token_file.exists() else ""
        found = session.get(Operator, LOCAL, with_for_update=True)
        if found is not None and (found.revoked_at is not None or (token and found.token_hash == hash_of(token))):
            return
        if not token:
            token = new_token()
            _write_private(token_file, token + "\n")
        if found is None:
            session.add(Operator(name=LOCAL, token_hash=hash_of(token)))
        else:
            found.token_hash = hash_of(token)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes it 0600 from its first moment on.
    descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(new).replace(path)
