"""Whether one moment of the story came out right: the shop's database and the messenger are asked, not the agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from examples.demo import Finding
from examples.shop.moments import Happened

Recommended = Mapping[int, int | None]
Messages = list[dict[str, Any]]


def judge(happened: Happened, before: Recommended, now: Recommended, messages: Messages) -> list[Finding]:
    """Compare what stands recommended now, and what was told since, with the shop's own rules.

    Right is: for every wish that it concerns something that the rules allow, its customer told once; nothing where
    there is nothing to recommend; everything else as it was.
    """
    findings: list[Finding] = []
    for wish, product in now.items():
        told = [int(each["product"]) for each in messages if each["wish"] == wish]
        if wish in happened.decided:
            problems = list(_decided(happened.allowed[wish], product, told))
        else:
            expected = None if wish in happened.allowed else before.get(wish)
            problems = list(_left(expected, product, told))
        findings.append(Finding(f"wish {wish}", not problems, "; ".join(problems) or _good(wish, product, happened)))
    return findings


def _decided(allowed: set[int], product: int | None, told: list[int]) -> Iterator[str]:
    if product is None:
        yield f"forgotten: nothing is recommended, and {sorted(allowed)} could be"
    elif product not in allowed:
        yield f"product {product} is recommended, which is none of {sorted(allowed)}"
    if told != [product]:
        yield f"its customer was told of {told} instead of product {product}, once"


def _left(expected: int | None, product: int | None, told: list[int]) -> Iterator[str]:
    if product != expected:
        yield f"product {product} is recommended instead of {expected}"
    if told:
        yield f"its customer was told of {told}, and there was no reason to"


def _good(wish: int, product: int | None, happened: Happened) -> str:
    if wish in happened.decided:
        return f"product {product} is recommended, told once"
    if wish in happened.allowed:
        return "there is nothing else to recommend, and nothing was said"
    return "not concerned, as before"
