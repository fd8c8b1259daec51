"""The shop example on the real stack, with a script in the model's place: the story, a rush, and proofs that fail."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from rich.console import Console

from agent.testing import Reaction, ScriptedModel, decide_all
from console import sessions
from console.insights import Insights
from examples import traffic
from examples.database import wal_place
from examples.play import ModelChoice
from examples.shop import demo, history, moments, proof
from examples.shop.history import PRODUCT, WISH, History, Position
from examples.shop.moments import Moment
from examples.shop.stage import PLAY, TRIGGERS
from examples.shop.traffic import Traffic
from examples.stage import REPOSITORY, Stage
from localstack import Stack
from tests.harness.stages import stage_for
from tests.harness.waiting import eventually
from wakestream import config
from wakestream.config.models import Kafka

PATIENCE = 300.0  # seconds until the runs of a rush have ended
SELL_OUTS = (1, 6, 3, 10, 7)  # on top of those that traffic makes
MANY = 10_000  # more runs than a rush makes

# More products and more lists: every customer wants two things, and would pay half as much again.
_CROWD: LiteralString = """
insert into product (category_id, name, price, rating, stock)
select 1 + n % 2, 'Model ' || chr(64 + n), 40 + n, 4, 3 from generate_series(1, 8) n;
insert into customer (name, email) select 'Customer ' || n, n || '@example.com' from generate_series(1, 15) n;
insert into wish (customer_id, product_id, most)
select customer.id, product.id, product.price * 1.5 from customer, product
where customer.id > 5 and (product.id + customer.id) % 8 = 0;
"""
_WAITING: LiteralString = """
select wish.id from wish join product wanted on wanted.id = wish.product_id
where wish.recommended_id is null and (wanted.stock = 0 or wanted.price > wish.price_then) and exists (
    select from product other where other.category_id = wanted.category_id and other.id <> wanted.id
    and other.stock > 0 and other.price <= wish.most)
"""


@pytest.fixture(scope="module")
def stage(stack: Stack) -> Generator[Stage]:
    with stage_for(PLAY, stack) as stage:
        yield stage


def test_the_story_comes_out_right_and_every_proof_can_fail(stage: Stage, tmp_path: Path) -> None:
    out = io.StringIO()
    stage.set(ModelChoice(scripted=True))
    ending = demo.play(stage, Console(file=out, width=200))
    told = out.getvalue()
    assert ending.right, told
    assert [sorted(each.decided) for each in ending.happened] == [[1, 2], [4], [1, 3]]
    assert [message["product"] for message in ending.received["messages"][:3]] == [2, 2, 8]
    for word in ("change", "event", "trigger", "answer", "policy", "action", "receipt"):
        assert f" {word} " in told, f"the story has no {word}:\n{told}"
    _assert_messages_can_be_wrong(stage, ending.received["messages"], tmp_path)
    _assert_lists_can_be_wrong(stage)


def _assert_messages_can_be_wrong(stage: Stage, messages: list[dict[str, Any]], directory: Path) -> None:
    """Spoil a message in every way that counts."""
    settings = _settings(stage)
    first = messages[0]  # about Brio, which has sold out since
    last = messages[-1]
    assert (first["product"], first["wish"]) == (2, 1) or (first["product"], first["wish"]) == (2, 2)
    for wrong, spoilt in {
        "Brio was sold out at": first | {"sent_at": last["sent_at"]},
        "when this was decided": last | {"product": 2},
        "Duna was sold out at": first | {"product": 4},
        "has not written down product 3": first | {"product": 3},
        "no position of wish": first | {"decided_at": "yesterday"},
        "in this order": first | {"sent_at": 1},
        "it names Duna": first | {"why": "There is also the duna, rated 4.9."},
        "product 99 was sold out": first | {"product": 99},
    }.items():
        [finding, lists] = proof.prove(settings, [spoilt], until=last["sent_at"])
        assert wrong in finding.text
        assert not finding.right
        assert lists.right
    assert _exit_code(stage, directory, messages) == 0
    assert _exit_code(stage, directory, [*messages, first | {"product": 4}]) == 1


def _exit_code(stage: Stage, directory: Path, messages: list[dict[str, Any]]) -> int:
    file = directory / "messages.json"
    file.write_text(json.dumps({"messages": messages}))
    command = [sys.executable, "-m", "examples.shop.proof", "--messages", str(file)]
    return subprocess.run(command, env={**os.environ, **stage.env}, cwd=REPOSITORY, check=False).returncode


def _assert_lists_can_be_wrong(stage: Stage) -> None:
    """Write a recommendation past everything that keeps sold out things from being recommended."""
    with psycopg.connect(stage.owner) as connection:
        before = connection.execute("select recommended_id from wish where id = 6").fetchone()
        connection.execute("update wish set recommended_id = 4 where id = 6")
        connection.commit()
        connection.execute("update wish set recommended_id = %s where id = 6", before)
        until = wal_place(connection)
    past = history.read(_settings(stage), PLAY.source, until)
    assert "list 6 recommends Duna, sold out" in proof.of_lists(past).text
    assert not proof.of_lists(past).right
    assert proof.of_lists(past, since=until).right


def test_a_decision_that_is_overtaken_is_refused_and_made_anew(stage: Stage) -> None:
    answering = threading.Event()

    def late(request: dict[str, Any]) -> Reaction:
        assert answering.wait(PATIENCE)
        return decide_all(request)

    with ScriptedModel(late) as model:
        stage.set(ModelChoice(model.url))
        insights = Insights(sessions.open_ledger(stage.env["LEDGER_URL"]))
        alba, _, brio = moments.MOMENTS
        moments.happen(stage.owner, alba)
        model.wait_for(2, PATIENCE)  # both who have it on a list are about to be recommended Brio
        moments.happen(stage.owner, brio)
        answering.set()
        _wait_until_all_is_decided(stage, insights)

    assert moments.recommended(stage.owner) == {1: 3, 2: None, 3: 3, 4: None, 5: None, 6: None}
    messages = stage.messages()["messages"]
    assert sorted((message["wish"], message["product"]) for message in messages) == [(1, 3), (3, 3)]
    [wish] = [row for row in insights.runs(trigger="choice_changed", limit=1) if row.key == {"id": 1}]
    assert [action.state for action in insights.run(wish.id).actions] == ["succeeded", "succeeded"]
    overtaken = [insights.run(row.id) for row in insights.runs(trigger="sold_out", limit=3)]
    told = {
        run.key["id"]: [(action.chosen["product"]["id"], action.state) for action in run.actions] for run in overtaken
    }
    assert told == {
        1: [(2, "failed"), (2, "stale")],
        2: [(2, "failed"), (2, "stale")],
        3: [(3, "succeeded"), (3, "succeeded")],
    }
    past = history.read(_settings(stage), PLAY.source, _now(stage))
    assert all(proof.of_message(past, message).right for message in messages)


def test_in_a_rush_everybody_is_decided_anew_and_nothing_sold_out_is_recommended(stage: Stage) -> None:
    stage.set(ModelChoice(scripted=True))
    insights = Insights(sessions.open_ledger(stage.env["LEDGER_URL"]))
    with psycopg.connect(stage.owner) as connection:
        began = wal_place(connection)
        connection.execute(_CROWD)
    with ThreadPoolExecutor(1) as pool:
        shopping = pool.submit(traffic.run, Traffic, stage.owner, rate=30, seconds=8, seed=int(os.environ["WAKE_SEED"]))
        for product in SELL_OUTS:
            _let_orders_pass(stage, 12)
            moments.happen(stage.owner, Moment("a rush", moments.BUY_ALL, product))
        done = shopping.result()
    assert all(done[name] > 0 for name in ("order lines", "deliveries")), done
    _wait_until_all_is_decided(stage, insights)

    messages = stage.messages()["messages"]
    past = history.read(_settings(stage), PLAY.source, _now(stage))
    findings = [*(proof.of_message(past, message) for message in messages), proof.of_lists(past, since=began)]
    assert not [finding.text for finding in findings if not finding.right]
    _assert_everybody_was_asked(insights, past, began)
    with psycopg.connect(stage.owner) as connection:
        assert connection.execute(_WAITING).fetchall() == []
        stock = dict(connection.execute("select id, stock from product").fetchall())
    assert stock == {product: past.stock(product, proof.ALL) for product in stock}
    # Messages may overtake one another on their way, and a decision that is made again has a later event than one that
    # waits behind it: they are in the order in which their runs have written down what they recommend.
    in_order = sorted(messages, key=lambda message: past.recorded[proof.run_of(message)].position)
    last = {message["wish"]: message["product"] for message in in_order}
    standing = {wish: product for wish, product in moments.recommended(stage.owner).items() if product is not None}
    assert standing
    assert standing == {wish: last[wish] for wish in standing}
    refused = len(stage.messages()["refused"])
    print(f"{len(messages)} messages, {refused} refused, {len(standing)} stand, {len(past.sold_out)} sold out; {done}")


def _let_orders_pass(stage: Stage, count: int) -> None:
    """Wait until there are so many more."""
    with psycopg.connect(stage.owner, autocommit=True) as connection:
        (before,) = connection.execute("select count(*) from orders").fetchone() or (0,)
        query = "select count(*) >= %s from orders"
        eventually(lambda: connection.execute(query, (before + count,)).fetchone() == (True,), f"{count} orders")


def _wait_until_all_is_decided(stage: Stage, insights: Insights) -> None:
    """Until nothing is on its way any more: what actions change is an event again."""

    def is_quiet() -> bool:
        stage.check()
        before = _runs(insights)
        stage.wait_read()
        return _runs(insights) == before and all(
            state in ("succeeded", "failed", "parked") for state in before.values()
        )

    eventually(is_quiet, "the end of all runs", within=PATIENCE)
    assert set(_runs(insights).values()) == {"succeeded"}


def _runs(insights: Insights) -> dict[str, str]:
    return {row.id: row.state for each in TRIGGERS for row in insights.runs(trigger=each, limit=MANY)}


def _assert_everybody_was_asked(insights: Insights, past: History, began: int) -> None:
    """For each that sold out, a run at that very position for everybody who had it on a list, if there was a choice."""
    activations = {row.activation for row in insights.runs(trigger="sold_out", limit=MANY)}
    sold_out = [(position, product) for position, product in past.sold_out if position[1] > began]
    assert {product for _, product in sold_out} >= set(SELL_OUTS)
    expected = {
        f"sold_out/shop/{position[0]}/{position[1]}/wish/{wish}"
        for position, product in sold_out
        for wish in _with_choice(past, product, position)
    }
    assert expected
    assert expected <= activations


def _with_choice(past: History, product: int, position: Position) -> Iterator[int]:
    """Who had this product on a list at this position, while something else could be recommended."""
    products = past.rows(PRODUCT, position)
    wanted = products[product]
    for wish, row in past.rows(WISH, position).items():
        others = (
            other["stock"] > 0 and other["price"] <= row["most"] and other["category_id"] == wanted["category_id"]
            for key, other in products.items()
            if key != product
        )
        if row["product_id"] == product and any(others):
            yield wish


def _now(stage: Stage) -> int:
    with psycopg.connect(stage.owner) as connection:
        return wal_place(connection)


def _settings(stage: Stage) -> Kafka:
    return config.load(PLAY.config, {**os.environ, **stage.env}).config.kafka
