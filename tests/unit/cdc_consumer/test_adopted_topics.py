"""What is read on of another's topics when they have changed, and what must be said to be missing."""

from __future__ import annotations

from cdc_consumer import adopted_topics
from cdc_consumer.adopted_position import Input, Stretch
from cdc_consumer.adopted_topics import Found
from cdc_consumer.position import Position
from tests.unit.cdc_consumer.tables import SOURCE
from wakestream.capture import Adopted, Capture, CapturedTable, Revision
from wakestream.catalogue import Catalogue

LABELS = {"public.flight": "f", "public.seat": "s"}
REVISION = Revision(
    1,
    SOURCE,
    Catalogue(SOURCE, "7", 1, 180000, {}),
    Capture(dict.fromkeys(LABELS, CapturedTable()), adopted=Adopted("theirs", LABELS)),
)
AT = Position(3, "", "7", 1, 50, None, 51, 1, 1)


def known() -> dict[str, Input]:
    return {"f": Input("A", "public.flight", [5, 6], 900), "s": Input("B", "public.seat", [0])}


def test_everything_is_read_from_the_first_message_that_is_there() -> None:
    found = {"f": Found("A", [(3, 9), (0, 0)])}
    assert adopted_topics.first_inputs(REVISION, found) == {"f": Input("A", "public.flight", [3, 0])}


def test_nothing_has_changed() -> None:
    found = {"f": Found("A", [(0, 9), (2, 6)]), "s": Found("B", [(0, 0)])}
    assert adopted_topics.followed(REVISION, known(), found) == (known(), {}, False)
    assert adopted_topics.loss(AT, REVISION, known(), {}, anew=False) is None


def test_what_retention_took_is_said_and_read_over() -> None:
    found = {"f": Found("A", [(0, 9), (8, 9)]), "s": Found("B", [(0, 0)])}
    inputs, lost, anew = adopted_topics.followed(REVISION, known(), found)
    assert inputs["f"] == Input("A", "public.flight", [5, 8], 900)
    assert lost == {"public.flight": "f no longer has offsets 6 to 7 of partition 1: the consumer was away too long"}
    assert not anew
    loss = adopted_topics.loss(AT, REVISION, inputs, lost, anew=anew)
    assert loss is not None
    assert (loss.tables, loss.log, loss.inputs) == (["public.flight"], 3, inputs)


def test_a_topic_made_anew_begins_a_new_log() -> None:
    found = {"f": Found("A", [(0, 9), (0, 6)]), "s": Found("Z", [(0, 4)])}
    inputs, lost, anew = adopted_topics.followed(REVISION, known(), found)
    assert inputs["s"] == Input("Z", "public.seat", [0])
    assert (lost, anew) == ({"public.seat": "topic s was made anew"}, True)
    loss = adopted_topics.loss(AT, REVISION, inputs, lost, anew=anew)
    assert loss is not None
    assert loss.log == 4


def test_another_database_is_a_loss_of_everything() -> None:
    other = Revision(2, SOURCE, Catalogue(SOURCE, "8", 1, 180000, {}), REVISION.capture)
    loss = adopted_topics.loss(AT, other, known(), {}, anew=False)
    assert loss is not None
    assert (loss.tables, loss.log, loss.identity) == (sorted(LABELS), 4, ("8", 1))


def test_a_topic_that_comes_and_one_that_goes_lose_nothing() -> None:
    found = {"s": Found("B", [(0, 0)])}
    assert adopted_topics.followed(REVISION, known(), found) == (known(), {}, False)
    only = {"s": known()["s"]}
    inputs, lost, _ = adopted_topics.followed(REVISION, only, {"f": Found("A", [(2, 3)]), **found})
    assert inputs == {"f": Input("A", "public.flight", [2]), **only}
    assert lost == {}


def test_new_partitions_wait_for_the_ends_of_the_old_ones() -> None:
    found = {"f": Found("A", [(0, 9), (0, 7), (0, 3)]), "s": Found("B", [(0, 0)])}
    inputs, lost, _ = adopted_topics.followed(REVISION, known(), found)
    assert (inputs, lost) == (known(), {})
    assert adopted_topics.grown(inputs, found) == {"f": ([9, 7], [0])}


def test_a_stretch_can_be_repeated_only_while_all_of_it_is_there() -> None:
    stretch = Stretch({"f": [7, 6], "s": [0]})
    there = {"f": Found("A", [(5, 9), (6, 6)]), "s": Found("Z", [(0, 0)])}
    assert adopted_topics.is_repeatable(stretch, known(), there)  # nothing of s is in it
    assert adopted_topics.is_repeatable(stretch, known(), {**there, "f": Found("A", [(5, 9), (8, 9)])})
    assert not adopted_topics.is_repeatable(stretch, known(), {**there, "f": Found("A", [(6, 9), (6, 6)])})
    assert not adopted_topics.is_repeatable(stretch, known(), {**there, "f": Found("Y", [(5, 9), (6, 6)])})
    assert not adopted_topics.is_repeatable(stretch, known(), {"s": there["s"]})
