"""Proves that nothing sold out was recommended: every message and every list is held against the stock at its position.

python -m examples.shop.proof [--messages FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests
from rich.console import Console

from examples.demo import Finding, say_findings
from examples.shop import history
from examples.shop.history import WISH, History, Position
from examples.shop.stage import PLAY
from wakestream import config
from wakestream.config.models import Kafka
from wakestream.errors import WakeError

_DECIDED_AT = re.compile(rf"{PLAY.source}/(\d+)/(\d+)/wish/(\d+)")

ALL = (sys.maxsize, 0)  # behind every position

Messages = Sequence[dict[str, Any]]


def prove(settings: Kafka, messages: Messages, *, until: int = 0) -> list[Finding]:
    """What is to be said of each message and of the lists; reads the topic at least to the LSN `until`."""
    past = history.read(settings, PLAY.source, max([until, *(int(each["sent_at"]) for each in messages)]))
    return [*(of_message(past, each) for each in messages), of_lists(past)]


def of_lists(past: History, *, since: int = 0) -> Finding:
    """Whether no list recommended anything sold out at any position behind this LSN."""
    broken = [f"{text}, at {position}" for position, text in past.broken if position[1] > since]
    count = sum(position[1] > since for position in past.positions)
    return Finding(
        "lists", not broken, "; ".join(broken) or f"nothing sold out on any after each of {count} transactions"
    )


def of_message(past: History, message: dict[str, Any]) -> Finding:
    """Whether what a message recommends was in stock when it was decided, when written down, and when sent."""
    product, wish = int(message["product"]), int(message["wish"])
    name = past.names(ALL).get(product, f"product {product}")
    stood = _Stood(past, product)
    problems = [*_positions(past, message, stood), *_named(past, message)]
    text = f"{name} for wish {wish}, of which there were {', '.join(stood.told)}"
    return Finding(f"message {message['key']}", not problems, "; ".join(problems) or text)


class _Stood:
    """How many there were of one product at the positions that matter."""

    def __init__(self, past: History, product: int) -> None:
        self._past, self._product = past, product
        self.told: list[str] = []

    def problems(self, position: Position, when: str) -> Iterator[str]:
        """What is wrong with recommending it at this position."""
        count = self._past.stock(self._product, position)
        self.told.append(f"{count} when {when}")
        if count <= 0:
            name = self._past.names(ALL).get(self._product, f"product {self._product}")
            yield f"{name} was sold out at {position}, when this was {when}"


def run_of(message: dict[str, Any]) -> str:
    """The run that sent it: its key is the run and the number of the action."""
    return str(message["key"]).rpartition("/")[0]


def _positions(past: History, message: dict[str, Any], stood: _Stood) -> Iterator[str]:
    wish, product = int(message["wish"]), int(message["product"])
    decided = _DECIDED_AT.fullmatch(message["decided_at"])
    if decided is None or int(decided[3]) != wish:
        yield f"{message['decided_at']} is no position of wish {wish}"
        return
    at = int(decided[1]), int(decided[2])
    yield from stood.problems(at, "decided")
    recorded = past.recorded.get(run_of(message))
    if recorded is None or (recorded.wish, recorded.product) != (wish, product):
        yield f"its run has not written down product {product} for wish {wish}"
        return
    yield from stood.problems(recorded.position, "written down")
    sent = recorded.position[0], int(message["sent_at"])
    yield from stood.problems(sent, "sent")
    if not at < recorded.position < sent:
        yield f"it was not decided, written down and sent in this order: {at}, {recorded.position}, {sent}"


def _named(past: History, message: dict[str, Any]) -> Iterator[str]:
    """What the model wrote may name the product of the list; anything else that it names must be in stock."""
    decided = _DECIDED_AT.fullmatch(message["decided_at"])
    at = (int(decided[1]) if decided else 0, int(message["sent_at"]))
    listed = (past.row(WISH, int(message["wish"]), at) or {}).get("product_id")
    for product, name in past.names(at).items():
        named = re.search(rf"\b{re.escape(name)}\b", message["why"], re.IGNORECASE)
        if named and product != listed and not past.stock(product, at):
            yield f"it names {name}, which was sold out"


def main() -> None:
    """Exit 1 if a message or a list is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=Path, help="what the messenger has answered; default: ask it")
    options = parser.parse_args()
    try:
        settings = config.load(PLAY.config).config
        address = os.environ.get("MESSENGER_URL", "")
        told = (
            json.loads(options.messages.read_text()) if options.messages else requests.get(address, timeout=10).json()
        )
        findings = prove(settings.kafka, told["messages"])
    except (WakeError, OSError, ValueError, KeyError) as error:
        print(f"nothing can be proved: {error}", file=sys.stderr)
        sys.exit(2)
    say_findings(Console(highlight=False), findings)
    sys.exit(0 if all(finding.right for finding in findings) else 1)


if __name__ == "__main__":
    main()
