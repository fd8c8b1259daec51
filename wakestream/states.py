"""The lives of activations, runs and actions: closed sets of states and the moves between them."""

from __future__ import annotations

from typing import Literal, get_args

ActivationState = Literal["held", "open", "suppressed", "done"]
RunState = Literal["pending", "running", "waiting", "succeeded", "failed", "cancelled", "parked"]
ActionState = Literal[
    "proposed",
    "awaiting_approval",
    "approved",
    "executing",
    "succeeded",
    "rejected",
    "stale",
    "expired",
    "failed",
    "unknown",
    "shadowed",
]

ACTIVATION: tuple[ActivationState, ...] = get_args(ActivationState)
RUN: tuple[RunState, ...] = get_args(RunState)
ACTION: tuple[ActionState, ...] = get_args(ActionState)

RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    "pending": frozenset({"running", "cancelled"}),
    # Back to pending: the attempt failed for a passing reason, or its worker's lease ran out.
    "running": frozenset({"pending", "waiting", "succeeded", "failed", "cancelled", "parked"}),
    "waiting": frozenset({"succeeded", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset({"pending"}),
    "cancelled": frozenset(),
    "parked": frozenset({"pending"}),
}

ACTION_MOVES: dict[ActionState, frozenset[ActionState]] = {
    # Shadowed: it says what would have been done, and is never done.
    "proposed": frozenset({"awaiting_approval", "approved", "rejected", "shadowed"}),
    "awaiting_approval": frozenset({"approved", "rejected", "stale", "expired"}),
    "approved": frozenset({"executing", "stale", "rejected"}),
    # Back to approved: the effect surely did not happen and is tried again.
    "executing": frozenset({"approved", "succeeded", "failed", "unknown", "stale"}),
    "succeeded": frozenset(),
    "rejected": frozenset(),
    "stale": frozenset(),
    "expired": frozenset(),
    "shadowed": frozenset(),
    "failed": frozenset({"approved"}),
    # Settled by its receipt, or by a person who decides to try again.
    "unknown": frozenset({"succeeded", "failed", "approved"}),
}

ACTION_TO_COME: frozenset[ActionState] = frozenset({"proposed", "awaiting_approval", "approved"})
"""Nothing has begun yet."""

ACTION_FINAL: frozenset[ActionState] = frozenset({"succeeded", "rejected", "stale", "expired", "failed", "shadowed"})
