"""When a trigger that was met activates its agent: at once, later, together with others, or not again so soon."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wakestream.config.sections import Duration, Name, Section

LONGEST_BATCH = 500
"""Events that one run may be given: all of them stand in its prompt."""

PositiveDuration = Annotated[Duration, Field(gt=0)]


class Absent(Section):
    """The expected did not happen."""

    event: str
    """A condition over later events of the same key, as with `fire: change`."""
    within: PositiveDuration


class Debounce(Section):
    """A burst of changes of a key becomes one."""

    quiet: PositiveDuration
    """So long nothing happened to the key."""
    at_most: PositiveDuration
    """So long after the first change it is over in any case."""

    @model_validator(mode="after")
    def _quiet_is_shorter(self) -> Debounce:
        if self.at_most < self.quiet:
            raise ValueError("`at_most` ends a burst that never becomes quiet, so it cannot be shorter than `quiet`")
        return self


class Together(Section):
    """One run for many keys."""

    by: str
    """An expression over the event: those with the same value come together."""
    at_most: int = Field(default=50, ge=2, le=LONGEST_BATCH)
    within: PositiveDuration


class Breaker(Section):
    """So many runs of one key and trigger in so long, and no more."""

    runs: int = Field(ge=1, le=1000)
    within: PositiveDuration


class Timing(Section):
    """What a trigger says of its timing."""

    conditions: dict[Name, str] = {}
    """Parts of `when`, by names that it may use."""
    hold: PositiveDuration | None = None
    """What was met must still be so after this time."""
    absent: Absent | None = None
    debounce: Debounce | None = None
    batch: Together | None = None
    cooldown: PositiveDuration | None = None
    """After a run of a key, no other one of this trigger for so long."""
    priority: int = Field(default=0, ge=-60, le=60)
    """By how many minutes its runs go before others that came up earlier."""
    breaker: Breaker | Literal["off"] | None = None
    """By itself `limits.breaker`."""

    @model_validator(mode="after")
    def _one_wait(self) -> Timing:
        given = [name for name in ("hold", "absent", "debounce") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(f'`{name}`' for name in given)} wait for different things: give one")
        return self

    @property
    def waits(self) -> bool:
        """Whether an event that meets it begins a wait of its key."""
        return self.hold is not None or self.absent is not None or self.debounce is not None
