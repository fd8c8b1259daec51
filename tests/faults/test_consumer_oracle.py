"""Random transactions against an oracle, while the consumer and Connect are killed; then the recorded log once more."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Generator
from dataclasses import dataclass, replace

import msgspec
import pytest

from localstack import Stack
from tests.harness import comparison, replay, values
from tests.harness.chaos import Chaos
from tests.harness.context import ContextLog, exact
from tests.harness.oracle import Image, Key, Model, Row
from tests.harness.processes import FAILPOINTS, ConsumerProcess
from tests.harness.replay import Recording
from tests.harness.source import AttachedSource, attached
from tests.harness.workload import Workload
from wakestream import capture
from wakestream.ledger import settings

SOAK = bool(os.environ.get("WAKE_SOAK"))
SEED = int(os.environ["WAKE_SEED"])
TRANSACTIONS = int(os.environ.get("WAKE_TRANSACTIONS") or (10_000 if SOAK else 1000))
RANDOM_KILLS, CONNECT_KILLS = 20, 5
SMALL_BATCHES = 10**9 if SOAK else 1500  # records of the log that are applied in small batches too

pytestmark = pytest.mark.timeout(3600 if SOAK else 1200)


@dataclass(frozen=True)
class Run:
    """One run of the workload under fire, and everything that it left."""

    source: AttachedSource
    model: Model
    initial: dict[str, dict[Key, Row]]
    workload: Workload
    consumer: ConsumerProcess
    chaos: Chaos
    context: ContextLog
    recording: Recording


@pytest.fixture(scope="module")
def run(stack: Stack, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[Run]:
    model = Model(values.SHAPES.values(), values.DOCUMENTS)
    workloads: list[Workload] = []

    def fill(source: AttachedSource) -> None:
        with source.ledger() as connection:
            workloads.append(Workload(source, model, settings.key(connection, settings.MARK_KEY), SEED))
        workloads[0].fill()

    with attached(env, values.DDL, list(values.SHAPES), fill=fill) as source:
        initial = {label: dict(rows) for label, rows in model.rows.items()}
        with ConsumerProcess(source.raw_config, tmp_path_factory.mktemp("oracle")) as consumer:
            consumer.start()
            source.wait_mirrored()
            consumer.stop()
            chaos = Chaos(source, stack, consumer, workloads[0], SEED, TRANSACTIONS, RANDOM_KILLS, CONNECT_KILLS)
            chaos.run()
            source.wait_applied()
            assert consumer.stop() == 0
            workloads[0].close()
            context = source.context()
            yield Run(source, model, initial, workloads[0], consumer, chaos, context, _record(source, context))


def _record(source: AttachedSource, context: ContextLog) -> Recording:
    with source.ledger() as connection:
        revision = capture.load(connection, source.name)
        key = settings.key(connection, settings.MARK_KEY)
    assert revision is not None
    end = source.applied_offset() + 1
    records = [(m.offset() or 0, _bytes(m.key()), _bytes(m.value())) for m in source.change_log()][:end]
    assert [offset for offset, _, _ in records] == list(range(end))
    return Recording(source.name, revision.catalogue, revision.capture, key, context.partitions, records)


def _bytes(value: object) -> bytes | None:
    assert value is None or isinstance(value, bytes)
    return value


def test_the_kills_were_real(run: Run) -> None:
    kills = [end for end in run.consumer.ends if end == -signal.SIGKILL]
    assert run.consumer.ends == [0, *kills, 0]
    assert len(kills) == RANDOM_KILLS + len(FAILPOINTS)
    assert len(set(run.chaos.connect_ends)) == CONNECT_KILLS
    assert run.context.repeats() > 0


def test_the_topic_keeps_its_contract(run: Run) -> None:
    run.context.verify_contract()


def test_the_initial_rows_are_read_once(run: Run) -> None:
    found = {(each.event["subject"], _text(each.data["after"])) for each in run.context.of_type("row.read")}
    wanted = {
        (run.model.shapes[label].subject(key), _text(run.model.shapes[label].shown(row)))
        for label, rows in run.initial.items()
        for key, row in rows.items()
    }
    assert found == wanted
    assert len(run.context.of_type("row.read")) == len(wanted)


def test_every_transaction_makes_exactly_its_events(run: Run) -> None:
    assert run.workload.done >= TRANSACTIONS
    comparison.verify_rows(run.context, run.model.committed, run.source.name)


def test_marks_become_receipts_and_forgeries_dead_letters(run: Run) -> None:
    with run.source.ledger() as connection:
        receipts = connection.execute("select action from wake.receipt where source = %s", (run.source.name,))
        assert {action for (action,) in receipts.fetchall()} == set(run.workload.actions)
    assert [kind for kind, _ in run.source.dead_letters()] == ["forged mark"] * run.workload.forged


def test_the_store_is_what_the_source_is(run: Run) -> None:
    with run.source.ledger() as connection:
        for label, shape in run.model.shapes.items():
            table = label.partition(".")[2]
            query = f"select to_jsonb(m.*)::text from {run.source.name}__public.{table} as m"
            found = {
                shape.key_of(image): image for (text,) in connection.execute(query.encode()) if (image := exact(text))
            }
            assert found.keys() == run.model.rows[label].keys()
            for key, row in run.model.rows[label].items():
                known = shape.shown(row)
                assert {name: found[key][name] for name in known} == known


@pytest.mark.parametrize(("largest", "crashes"), [(3000, 0.0), (60, 0.3)])
def test_other_batches_of_the_same_log_give_the_same_bytes(run: Run, largest: int, crashes: float) -> None:
    recording = run.recording if largest > 100 else run.recording.head(SMALL_BATCHES)
    rng = random.Random(SEED + largest)
    with replay.scratch_ledger(run.source.env["POSTGRES_URL"]) as url:
        again = recording.replay(url, rng, largest=largest, crashes=crashes)
    again.verify_contract()
    _verify_same(again, run.context, recording)


def test_documents_are_as_if_every_transaction_was_applied_alone(run: Run) -> None:
    with_entity = msgspec.structs.replace(run.recording.capture, entities={"booking": values.ENTITY})
    recording = replace(run.recording, capture=with_entity)
    rng = random.Random(SEED)
    with replay.scratch_ledger(run.source.env["POSTGRES_URL"]) as url:
        whole = recording.replay(url, rng, largest=4000)
    whole.verify_contract()
    comparison.verify_documents(whole, run.model.committed, run.source.name)
    head = recording.head(SMALL_BATCHES)
    with replay.scratch_ledger(run.source.env["POSTGRES_URL"]) as url:
        again = head.replay(url, rng, largest=40, crashes=0.2)
    _verify_same(again, whole, head)


def _verify_same(again: ContextLog, first: ContextLog, recording: Recording) -> None:
    """The same bytes in every partition, as far as the recording goes."""
    wanted = [each for each in first.accepted if each.position.offset < len(recording.records)]
    for one, other in zip(again.accepted, wanted, strict=False):
        assert (one.partition, one.value) == (other.partition, other.value)
    assert len(again.accepted) == len(wanted)


def _text(image: Image) -> str:
    return repr(sorted(image.items()))
