from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import requests
from prometheus_client import Metric

from agent import measures as of_agent
from cdc_consumer import measures as of_consumer
from connectors import measures as of_guard
from wakestream import metrics
from wakestream.config.models import Metrics
from wakestream.errors import ConfigurationError

PAGE = (Path(__file__).parents[3] / "docs/reference/metrics.md").read_text()
ROWS = re.findall(r"^\| `(wakestream_\w+)` \| (\w+) \| (.*?) \| .+ \|$", PAGE, re.MULTILINE)


def families() -> list[Metric]:
    return [each for each in metrics.REGISTRY.collect() if each.name.startswith("wakestream_")]


def test_the_page_has_every_metric_with_its_type_and_no_other() -> None:
    assert of_agent and of_consumer and of_guard  # which defined theirs when they were imported
    told = {each.name + ("_total" if each.type == "counter" else ""): each.type for each in families()}
    assert {name: kind for name, kind, _ in ROWS} == told
    assert len(ROWS) == len(told)


def test_the_page_has_the_labels_of_every_metric() -> None:
    known = {
        name: set(each._labelnames)
        for module in (of_agent, of_consumer, of_guard)
        for each in vars(module).values()
        for name in [getattr(each, "_name", None) or ""]
        if name.startswith("wakestream_")
    }
    assert {name.removesuffix("_total"): set(re.findall(r"`(\w+)`", labels)) for name, _, labels in ROWS} == known


def test_it_is_answered_while_it_is_served() -> None:
    of_guard.LEVEL.labels("airline").set(2)
    with metrics.served("127.0.0.1:0") as at:
        assert at is not None
        answer = requests.get(f"http://{at[0]}:{at[1]}/metrics", timeout=60)
        assert 'wakestream_guard_level{source="airline"} 2.0' in answer.text.splitlines()
        assert "process_resident_memory_bytes" in answer.text
    with socket.socket() as freed:
        assert freed.connect_ex(at) != 0


def test_nothing_is_opened_without_an_address() -> None:
    with metrics.served(None) as at:
        assert at is None


def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = f"cannot listen on {address}: Address already in use"
        with pytest.raises(ConfigurationError, match=said), metrics.served(address):
            pass


@pytest.mark.parametrize("wrong", ["9464", ":9464", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", "host:metrics"])
def test_an_address_is_host_and_port(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not an address; write 127.0.0.1:9464"):
        Metrics.model_validate({"guard": wrong})


def test_an_empty_address_is_none() -> None:
    assert Metrics.model_validate({"guard": "", "agent": "[::1]:9464"}) == Metrics(agent="[::1]:9464")
