from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import CONFIG, Wake
from tests.unit.console.seeds import FARE
from tests.unit.console.test_tail import Broker

BOTH = {"before": {"status": "on time", "fare": None}, "after": {"status": "delayed", "fare": 0}}


@pytest.fixture
def broker(config: Path) -> Broker:
    """A broker that the configuration names."""
    broker = Broker()
    text = CONFIG.replace("127.0.0.1:9", broker.settings.bootstrap_servers, 1).replace(
        "${LEDGER_URL}", "postgresql://x"
    )
    config.write_text(text)
    return broker


def test_one_line_for_each_event(broker: Broker, wake: Wake) -> None:
    broker.publish("public.flight/7", **BOTH, changed=["status", "fare"], cause=None)
    cause = {"action": "a/1", "run": "a", "trigger": "t", "keys": [], "depth": 1}
    broker.publish("booking/42", kind="entity.changed", changed=["flight.status"], cause=cause, snapshot=True,
                   before={"flight": {"status": "a"}}, after={"flight": {"status": "b"}})  # fmt: skip
    broker.publish("airline/gap", kind="context.gap", changed=None, reason="the slot was lost")
    done = wake("events", "tail", "--from", "beginning")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "2026-11-22 12:00:01+00:00  row.updated      public.flight/7  status: on time → delayed  fare: – → 0",
        "2026-11-22 12:00:02+00:00  entity.changed   booking/42  flight.status: a → b  caused by a/1  (snapshot)",
        "2026-11-22 12:00:03+00:00  context.gap      airline/gap  the slot was lost",
    ]


def test_json_is_the_event_as_it_is(broker: Broker, wake: Wake) -> None:
    payload = (
        '{"id":"e","source":"wake://airline/x","type":"row.updated","subject":"public.flight/7",'
        f'"time":"2026-11-22T12:00:00Z","data":{{"position":{{"log":1,"offset":1,"seq":1,"of":1}},"after":{{"fare":{FARE}}}}}}}'
    )
    broker.send(payload.encode(), 1)
    assert wake("events", "tail", "--from", "beginning", "--json").stdout == payload + "\n"


def test_limits_and_filters(broker: Broker, wake: Wake) -> None:
    ids = [broker.publish(f"public.flight/{number}") for number in (7, 8, 7)]

    def shown(*words: str) -> list[str]:
        done = wake("events", "tail", "airline", "--from", "beginning", "--json", *words)
        assert done.exit_code == 0, done.output
        return [json.loads(line)["id"] for line in done.stdout.splitlines()]

    assert shown("--limit", "2") == ids[:2]
    assert shown("--follow", "--limit", "3") == ids
    assert shown("--table", "public.flight", "--key", "7") == [ids[0], ids[2]]
    assert shown("--key", "public.flight/8") == [ids[1]]
    assert shown("--entity", "booking") == []


def test_what_is_no_event_is_told_on_stderr(broker: Broker, wake: Wake) -> None:
    broker.send(b"garbage", 0)
    done = wake("events", "tail", "--from", "beginning")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("not shown: airline.context[0] at 0: not a context event")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--from", "yesterday"], "beginning, end"),
        (["--table", "public.flight", "--entity", "booking"], "not both"),
        (["--limit", "0"], "--limit"),
        (["airlin"], "no source `airlin`; did you mean `airline`?"),
    ],
)
def test_wrong_usage(broker: Broker, wake: Wake, words: list[str], why: str) -> None:
    done = wake("events", "tail", *words)
    assert done.exit_code == 2
    assert why in done.stderr
