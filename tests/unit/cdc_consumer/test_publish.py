"""Publishing when Kafka is not there or does not answer; that it goes on well is shown on the real stack."""

from __future__ import annotations

import socket
import time
from collections.abc import Generator

import pytest

from cdc_consumer import publish
from cdc_consumer.publish import Publisher
from cdc_consumer.render import Message
from wakestream.config.models import Kafka, Topics
from wakestream.errors import FatalError, TransientError

MESSAGES = [Message("unit/clock", '{"n": 1}', None), Message("public.flight/7", '{"n": 2}', 1)]


@pytest.fixture
def silent() -> Generator[str]:
    """A port where somebody listens and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def nobody() -> str:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "PATIENCE", 0.5)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("where", ["silent", "nobody"])
def test_waiting_ends_while_the_broker_is_away(where: str, request: pytest.FixtureRequest) -> None:
    publisher = Publisher(Kafka(bootstrap_servers=request.getfixturevalue(where)), "unit.context", 3)
    publisher.send(MESSAGES)
    with pytest.raises(TransientError, match=r"Kafka does not take events for unit\.context"):
        publisher.wait()
    publisher.give_up()


def test_giving_up_throws_away_what_was_not_delivered(nobody: str) -> None:
    publisher = Publisher(Kafka(bootstrap_servers=nobody), "unit.context", 3)
    publisher.send(MESSAGES)
    # Beside the four messages it counts what librdkafka has to say about the broker.
    assert len(publisher._producer) >= 4  # pyright: ignore[reportPrivateUsage]
    started = time.monotonic()
    publisher.give_up()
    assert len(publisher._producer) == 0  # pyright: ignore[reportPrivateUsage]
    assert time.monotonic() - started < 5


def test_after_giving_up_it_takes_nothing_more(nobody: str) -> None:
    publisher = Publisher(Kafka(bootstrap_servers=nobody), "unit.context", 3)
    publisher.send(MESSAGES)
    publisher.give_up()
    with pytest.raises((TransientError, FatalError)):
        publisher.send(MESSAGES)
        publisher.wait()


def test_nothing_to_send_needs_no_broker(nobody: str) -> None:
    publisher = Publisher(Kafka(bootstrap_servers=nobody), "unit.context", 3)
    publisher.send([])
    publisher.wait()


def test_what_is_too_large_for_kafka_goes_without_its_images(nobody: str) -> None:
    image = '{"note":"%s"}' % ("x" * 2**20)
    value = (
        f'{{"id":"1","data":{{"before":null,"after":{image},"changed":null,"missing":[],"position":{{"offset":7}}}}}}'
    )
    kafka = Kafka(bootstrap_servers=nobody, topics=Topics(max_message_bytes=2**20))
    publisher = Publisher(kafka, "unit.context", 3)
    publisher.send([Message("public.flight/7", value, 1)])
    assert [(each.offset, each.subject) for each in publisher.unshown] == [(7, "public.flight/7")]
    publisher.give_up()
