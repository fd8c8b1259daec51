"""Tables without a primary key on the real stack: what their events say is what PostgreSQL had, and no row is lost."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.apply import Options, apply, planning
from console import verifying
from console.context import ContextStore
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.context import ContextLog, Raw, exact
from tests.harness.waiting import eventually
from wakestream import config, topics
from wakestream.errors import ConfigurationError, RefusedError

DDL = """
    create table log (
        line text, n int, amount numeric, body text, raw bytea, many float8[], day date, email text, secret text
    );
    alter table log replica identity full;
    alter table log alter body set storage external, alter raw set storage external, alter many set storage external;
    create table pair (a int not null, b text);
    create unique index on pair (a);
    alter table pair replica identity full;
    create table flight (id int primary key, status text);
    create table bare (line text);
    insert into log (line, n) values ('first', 0), ('first', 0);
"""
WAKE = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables:
      public.log: {exclude: [secret], mask: {email: last4}}
      public.pair: {}
      public.flight: {}
"""
LONG = "repeat('x', 9000), decode(repeat('ab', 5000), 'hex'), (select array_agg(i) from generate_series(1, 900) i)"


@pytest.fixture(scope="module")
def world(stack: Stack, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    directory: Path = tmp_path_factory.mktemp("keyless")
    with attached_world(stack, env, directory, ddl=DDL, wake=WAKE, prompt="") as world:
        yield world


@pytest.fixture
def consumer(world: World) -> Generator[WakeProcess]:
    process = WakeProcess(world, "consume")
    before = process.log.count("consumer_started")
    with process:
        eventually(lambda: process.log.count("consumer_started") > before, "the consumer at its source")
        world.wait_mirrored()
        yield process


def events_of(world: World, table: str) -> list[Raw]:
    topic = topics.context(world.source)

    def read() -> ContextLog | None:
        found = ContextLog.read(world.loaded.config.kafka, topic)
        return found if found.ends_whole else None

    log = eventually(read, f"the end of {topic} in all its partitions")
    log.verify_contract()
    return [each for each in log.unique if each.event["subject"] == f"public.{table}"]


def after(world: World, table: str, seen: int, count: int) -> list[dict[str, Any]]:
    """The data of the events behind the first ones, once so many are there."""

    def enough() -> list[Raw] | None:
        found = events_of(world, table)
        return found if len(found) >= seen + count else None

    found = eventually(enough, f"{count} events of {table}")
    assert len(found) == seen + count
    return [each.data for each in found[seen:]]


def printed(world: World, query: str) -> list[Any]:
    """What the source prints, exactly."""
    with psycopg.connect(world.url, options="-c timezone=UTC -c intervalstyle=iso_8601") as connection:
        return [exact(text) for (text,) in connection.execute(query.encode()).fetchall()]


def without_mask(image: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in image.items() if name != "email"}


def test_every_operation_with_both_images(world: World, consumer: WakeProcess) -> None:
    assert consumer.is_running
    seen = len(events_of(world, "log"))
    shown = "select to_jsonb(r)::text from (select line, n, amount, body, raw, many, day from log where n in (1, 2)) r"
    with world.connect() as connection:
        insert = "insert into log (line, body, raw, many, n, amount, day, email, secret)"
        connection.execute(f"{insert} select 'whole', {LONG}, 1, 1.50, '2026-11-22', 'a@b.example', 's'".encode())
        first = printed(world, shown)
        connection.execute("update log set n = 2, amount = 2.500 where line = 'whole'")
        second = printed(world, shown)
        connection.execute("delete from log where line = 'whole'")
    inserted, updated, deleted = after(world, "log", seen, 3)
    assert [inserted["before"], without_mask(inserted["after"])] == [None, *first]
    assert [without_mask(updated["before"]), without_mask(updated["after"])] == [*first, *second]
    assert updated["changed"] == ["n", "amount"]
    assert [without_mask(deleted["before"]), deleted["after"]] == [*second, None]
    for each in (inserted, updated, deleted):
        assert (each["key"], each["missing"]) == (None, [])
        image = each["after"] or each["before"]
        assert image["email"] == "****mple"
        assert "secret" not in image


def test_identical_rows_and_a_truncate_with_the_consumer_killed_between(world: World, consumer: WakeProcess) -> None:
    seen = len(events_of(world, "log"))
    world.execute("insert into log (line, n) select 'same', 1 from generate_series(1, 500)")
    eventually(lambda: len(events_of(world, "log")) > seen, "the first of them")
    consumer.kill()
    world.execute("update log set n = 2 where line = 'same'")
    world.execute("delete from log where line = 'same'")
    world.execute("truncate log")
    consumer.start()
    found = after(world, "log", seen, 3 * 500 + 1)
    ops = [each["op"] for each in found]
    assert ops == ["insert"] * 500 + ["update"] * 500 + ["delete"] * 500 + ["truncate"]
    assert all(each["changed"] == ["n"] for each in found if each["op"] == "update")
    assert {(each["before"]["line"], each["before"]["n"]) for each in found if each["op"] == "delete"} == {("same", 2)}


def test_what_debezium_takes_for_a_key(world: World, consumer: WakeProcess) -> None:
    """A change of a unique index's column comes as a delete and an insert; any other as an update."""
    assert consumer.is_running
    seen = len(events_of(world, "pair"))
    world.execute("insert into pair values (1, 'x')")
    world.execute("update pair set b = 'y'")
    world.execute("update pair set a = 2")
    found = after(world, "pair", seen, 4)
    assert [(each["op"], each["key"], each["before"], each["after"]) for each in found] == [
        ("insert", None, None, {"a": 1, "b": "x"}),
        ("update", None, {"a": 1, "b": "x"}, {"a": 1, "b": "y"}),
        ("delete", None, {"a": 1, "b": "y"}, None),
        ("insert", None, None, {"a": 2, "b": "y"}),
    ]


def test_what_needs_a_key_is_refused_with_the_reason(world: World, consumer: WakeProcess) -> None:
    assert consumer.is_running
    found = {each.table: each.state for each in verifying.verify(world.loaded, world.source, None, 10)}
    assert found == {"public.flight": "same", "public.log": "not mirrored", "public.pair": "not mirrored"}
    with (
        ContextStore.opened(world.loaded.config, world.source) as store,
        pytest.raises(RefusedError, match="public.log has no primary key, so the store has no rows of it"),
    ):
        store.row("public.log", "1")
    text = world.file.read_text()
    entity = "entities:\n  log: {root: SOURCE.public.log}\n".replace("SOURCE", world.source)
    for changed, said in (
        (text + entity, "public.log has no primary key, so it is not mirrored, and documents come from mirrors"),
        (text.replace("public.pair: {}", "public.pair: {mirror: true}"), "cannot be told apart, so none is mirrored"),
        (text + "      public.bare: {}\n", "run `wake apply --allow replica-identity`"),
    ):
        other = world.directory / "other.yaml"
        other.write_text(changed)
        with pytest.raises(ConfigurationError, match=said), planning(config.load(other, world.variables)):
            pass


def test_apply_makes_old_rows_whole_before_it_publishes(world: World, consumer: WakeProcess) -> None:
    assert consumer.is_running
    text = world.file.read_text()
    other = world.directory / "other.yaml"
    other.write_text(text + "      public.bare: {replica_identity: full}\n")
    loaded = config.load(other, world.variables)
    with pytest.raises(ConfigurationError, match="--allow replica-identity"):
        apply(loaded)
    done = apply(loaded, options=Options(allow=frozenset({"replica-identity"})))
    places = [next(n for n, each in enumerate(done) if what in each) for what in ("replica identity", "publication")]
    assert places == sorted(places)
    world.execute("insert into bare values ('a')")
    world.execute("update bare set line = 'b'")
    inserted, updated = after(world, "bare", 0, 2)
    assert (inserted["op"], updated["before"], updated["after"]) == ("insert", {"line": "a"}, {"line": "b"})
    assert json.dumps(updated["changed"]) == '["line"]'
