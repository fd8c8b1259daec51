"""What the page about reading the context says, done as it says."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from console import tail
from console.tail import Tail, Wanted
from tests.harness.stack import REPOSITORY
from tests.harness.waiting import eventually
from wakestream.config.models import Kafka

PAGE = (REPOSITORY / "docs/how-to/read-the-context.md").read_text()
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PARTITIONS = 3

Send = Callable[[str, int, int], bytes]


@pytest.fixture
def topic(env: dict[str, str]) -> Generator[str]:
    """A context topic that only this test knows."""
    name = f"r{secrets.token_hex(5)}.context"
    client = AdminClient({"bootstrap.servers": env["KAFKA_BOOTSTRAP"]})
    client.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result()
    yield name
    client.delete_topics([name])[name].result()


@pytest.fixture
def send(env: dict[str, str], topic: str) -> Send:
    """Publishes an event about a subject, where the page says that it is."""
    producer = Producer({"bootstrap.servers": env["KAFKA_BOOTSTRAP"]})

    def publish(subject: str, offset: int, seq: int) -> bytes:
        position = {"log": 1, "offset": offset, "seq": seq, "of": 9}
        data = {"op": "update", "key": {"id": 1}, "changed": [f"c{offset}"], "position": position, "after": {"n": 1.10}}
        value: dict[str, Any] = {
            **{"specversion": "1.0", "id": f"s/1/{offset}.{seq}", "source": "wake://s/public.t"},
            **{"type": "row.updated", "subject": subject, "time": "2026-11-22T11:53:11.769Z", "data": data},
        }
        payload = json.dumps(value).encode()
        producer.produce(topic, payload, subject.encode(), zlib.crc32(subject.encode()) % PARTITIONS)
        assert producer.flush(30) == 0
        return payload

    return publish


def test_the_reader_in_ten_lines_takes_each_event_once(
    env: dict[str, str], topic: str, send: Send, tmp_path: Path
) -> None:
    for offset, seq in [(5, 1), (5, 2), (5, 1), (5, 2), (6, 1), (4, 9), (7, 1)]:
        send("public.t/1", offset, seq)
    program, printed = tmp_path / "reader.py", tmp_path / "printed"
    program.write_text(BLOCKS[0])
    assert len([line for line in BLOCKS[0].splitlines() if line.strip() and "import" not in line]) == 10
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(program)], stdout=output, stderr=output, env={**os.environ, **env, "TOPIC": topic}
        )
        try:
            eventually(lambda: "'c7'" in printed.read_text(), "the last event")
        finally:
            process.kill()
            process.wait(60)
    line = "row.updated public.t/1 ['c{}']".format
    assert printed.read_text().splitlines() == [line(5), line(5), line(6), line(7)]


def test_the_partition_of_a_subject(send: Send, env: dict[str, str], topic: str) -> None:
    """`wake events tail` with a table or entity and a key reads that partition and no other."""
    settings = Kafka(bootstrap_servers=env["KAFKA_BOOTSTRAP"])
    source = topic.removesuffix(".context")
    for subject in ("booking/42", "booking/43", "public.t/42", "public.t/1"):
        send(subject, 1, 1)
    given: dict[str, Any] = {"partitions": PARTITIONS}
    exec(BLOCKS[1], given)  # noqa: S102 - what the page says
    for name in ("booking", "public.t"):
        reading = Tail(settings, [source], Wanted(start="beginning", name=name, key="42", follow=False))
        try:
            assert [seen.event.subject for seen in reading] == [f"{name}/42"]
            places = tail._places(settings, [source], Wanted(name=name, key="42"))
        finally:
            reading.close()
        assert places == [(topic, zlib.crc32(f"{name}/42".encode()) % PARTITIONS)]
    assert given["partition"] == zlib.crc32(b"booking/42") % PARTITIONS


def test_the_sdk_reads_our_events(send: Send) -> None:
    given: dict[str, Any] = {}
    payload = send("public.t/1", 5, 1)

    class Message:
        @staticmethod
        def value() -> bytes:
            return payload

    exec(BLOCKS[2], {"message": Message, "JSONFormat": JSONFormat, "CloudEvent": CloudEvent}, given)  # noqa: S102
    assert given["event"].get_subject() == "public.t/1"
