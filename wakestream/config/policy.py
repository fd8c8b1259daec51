"""What stands between a decision and its effect, in the file: fences, approvals, expiry, modes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from wakestream.config.sections import Duration, Section
from wakestream.fences import OnStale

Mode = Literal["live", "approve", "shadow"]
"""`approve`: every action waits for a person; `shadow`: it is only written down. The stricter of two counts."""


class Approvers(Section):
    """Who may approve an action, and how many of them it takes."""

    names: tuple[str, ...] = ()
    """Of operators; everybody where it is empty."""
    count: int = Field(default=1, ge=1, le=10)

    @model_validator(mode="after")
    def _enough(self) -> Approvers:
        if len(set(self.names)) != len(self.names):
            raise ValueError("a name stands twice in `names`, and each person counts once")
        if self.names and self.count > len(self.names):
            raise ValueError(f"`count: {self.count}` can never be reached by {len(self.names)} names")
        return self


class PolicySection(Section):
    """When an action may happen, and until when its decision counts; the same for every kind."""

    fence: tuple[str, ...] | Literal["none"] = ()
    """Paths of the document that the decision rests on, besides what condition, `bind`, `choose`, `approval` read.

    `none` where it stays right whatever becomes of all that, such as news of something that has happened.
    """
    on_stale: OnStale = "drop"
    """What follows when it is stale: nothing, or a new decision on what is there now."""
    approvers: Approvers = Approvers()
    expires: Duration | None = None
    """How long a person may take to decide."""
    on_expiry: Literal["reject", "escalate", "execute"] = "reject"
    escalate_to: tuple[str, ...] = ()
    """Who may approve it after that, and nobody else."""

    @model_validator(mode="after")
    def _can_be_stale(self) -> PolicySection:
        if self.fence == "none" and self.on_stale != "drop":
            raise ValueError("`fence: none` says that it is never stale, so `on_stale` says nothing: remove one")
        return self

    @model_validator(mode="after")
    def _expiry_is_whole(self) -> PolicySection:
        if self.expires is None and (self.on_expiry != "reject" or self.escalate_to):
            raise ValueError("`on_expiry` and `escalate_to` say what follows `expires`: give that, too")
        if (self.on_expiry == "escalate") != bool(self.escalate_to):
            raise ValueError("`on_expiry: escalate` and `escalate_to: [names]` belong together: give both")
        if self.on_expiry == "escalate" and self.approvers.count > len(set(self.escalate_to)):
            raise ValueError(f"`approvers.count: {self.approvers.count}` can never be reached by `escalate_to`")
        return self

    @property
    def fenced(self) -> tuple[str, ...]:
        """The further paths."""
        return () if isinstance(self.fence, str) else self.fence
