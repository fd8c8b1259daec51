"""Ceilings: what triggers and agents may spend in a window of time, and how fast a model may be asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wakestream.config.sections import Section

Period = Literal["minute", "hour", "day"]
Quantity = Literal["runs", "tokens", "cost"]
Over = Literal["queue", "approve", "drop"]

Amount = Annotated[int, Field(ge=1)]


class Budget(Section):
    """What may be spent in each minute, hour or day (UTC), and what becomes of a run that comes when it is spent."""

    runs: Amount | None = None
    tokens: Amount | None = None
    """Of prompts and answers together."""
    cost: float | None = Field(default=None, gt=0)
    """In the bill's currency, by the price of the model."""
    per: Period
    by: str | None = None
    """CEL over the event: each value it gives has a budget of its own."""
    over: Over = "queue"
    """`queue`: wait for the next window; `approve`: wait for a person; `drop`: cancel the run."""
    warn: float = Field(default=0.8, gt=0, le=1)
    """The share after which operators are told."""

    @model_validator(mode="after")
    def _one_quantity(self) -> Budget:
        if sum(each is not None for each in (self.runs, self.tokens, self.cost)) != 1:
            raise ValueError("a budget limits one thing: give `runs`, `tokens` or `cost`; for two, write two budgets")
        return self

    @property
    def quantity(self) -> Quantity:
        """What it limits."""
        return "runs" if self.runs is not None else "tokens" if self.tokens is not None else "cost"

    @property
    def quota(self) -> float:
        """How much of it there is in a window."""
        return float(self.runs or self.tokens or self.cost or 0)


class Rate(Section):
    """How often a model may be asked, and how much it may read and write, over all processes."""

    requests: Amount | None = None
    tokens: Amount | None = None
    per: Period = "minute"

    @model_validator(mode="after")
    def _limits_something(self) -> Rate:
        if self.requests is None and self.tokens is None:
            raise ValueError("a rate limits something: give `requests`, `tokens` or both")
        return self
