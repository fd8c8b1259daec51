from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import configuration
from benchmarks.counts import FULL
from wakestream import config

ENVIRONMENT = {
    "KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "CONNECT_URL": "http://127.0.0.1:8083",
    "CONNECT_SECRETS": "connect.properties",
    "LEDGER_URL": "postgresql://wake@127.0.0.1/ledger",
    "BENCH_URL": "postgresql://postgres@127.0.0.1/bench",
    "SCRIPTED_URL": "http://127.0.0.1:8100/v1",
}


@pytest.mark.parametrize("mirror", [True, False])
def test_a_source_that_nothing_watches(tmp_path: Path, mirror: bool) -> None:
    path = configuration.write(tmp_path / "new", configuration.attached(["bench"], mirror=mirror))
    assert config.load(path, ENVIRONMENT).config.sources["bench"].tables["public.item"].mirror is mirror


def test_each_of_several_sources_has_an_address_of_its_own(tmp_path: Path) -> None:
    path = configuration.write(tmp_path, configuration.attached(["bench", "bench_2"], mirror=True))
    found = config.load(path, {**ENVIRONMENT, "BENCH_2_URL": "postgresql://postgres@127.0.0.1/bench_2"}).config.sources
    assert {name: config.reveal(source.capture).rpartition("/")[2] for name, source in found.items()} == {
        "bench": "bench",
        "bench_2": "bench_2",
    }


def test_few_of_many_triggers_read_what_changes(tmp_path: Path) -> None:
    conditions = configuration.many(FULL)
    path = configuration.write(tmp_path, configuration.watched("bench", conditions))
    found = config.load(path, ENVIRONMENT).config.triggers
    assert len(found) == 100
    assert {trigger.fire for trigger in found.values()} == {"enter"}
    assert sum("after.mark" in trigger.when for trigger in found.values()) == 5
