"""Under what policy an action was proposed, as its row keeps it: who may approve it, and what if nobody does."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

OnExpiry = Literal["reject", "escalate", "execute"]


class Policy(msgspec.Struct, frozen=True):
    """What was configured when the action was proposed; later changes of the file do not touch it."""

    approvers: list[str] = []
    """Who may approve it; everybody where it is empty."""
    count: int = 1
    """How many people it takes."""
    expires_s: float | None = None
    on_expiry: OnExpiry = "reject"
    escalate_to: list[str] = []
    untrusted: list[str] = []
    """Text of strangers that the run saw, by path."""
    undo: str | None = None
    """Of an SQL action the statement that takes it back."""


def of_document(document: Any) -> Policy:
    """The policy that a column of the ledger holds; of an action that was proposed without one, the plainest."""
    return Policy() if document is None else msgspec.convert(document, Policy)
