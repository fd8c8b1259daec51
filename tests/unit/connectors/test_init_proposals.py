"""What `wake init` makes of names, types and shapes; and that any name stands in the file as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.init import entities, triggers, yaml_text
from connectors.init.columns import ColumnProposals, propose_columns
from connectors.init.shapes import Shape, Shapes
from connectors.init.survey import FoundTable
from wakestream.catalogue import Column, ForeignKey, Table
from wakestream.config import document


def column(name: str, base: str = "text", **more: Any) -> Column:
    return Column(name, more.pop("type", base), base, **more)


def table(name: str, *columns: Column, keys: tuple[ForeignKey, ...] = ()) -> Table:
    return Table("public", name, (column("id", "int4"), *columns), ("id",), foreign_keys=keys)


def found(made: Table, *, rows: float = 10.0, updates: float = 0.0, **values: tuple[str, ...]) -> FoundTable:
    return FoundTable(made, rows, None, updates, None, False, values)


def looks(shape: Shape | None, share: float = 1.0, seen: int = 100) -> Shapes:
    return Shapes(seen, ((shape, share),) if shape else ())


PLAIN = looks(None)
COLUMNS = [  # a column, what its values look like, and what is proposed
    (column("email"), PLAIN, "mask"),
    (column("contactEmail", "varchar"), PLAIN, "mask"),
    (column("mobile_number", "int8"), Shapes(), "mask"),
    (column("Phone No"), PLAIN, "mask"),
    (column("email_verified", "bool"), Shapes(), None),
    (column("email_type"), PLAIN, None),
    (column("email", "citext"), PLAIN, "mask"),
    (column("email", "varbit"), PLAIN, "exclude"),  # whose values never arrive, so that no mask can be made of them
    (column("password_hash"), PLAIN, "exclude"),
    (column("passwordChangedAt", "timestamptz"), Shapes(), None),
    (column("reset_token", "uuid"), Shapes(), "exclude"),
    (column("token_count", "int4"), Shapes(), None),
    (column("max_tokens", "int4"), Shapes(), None),
    (column("API key"), PLAIN, "exclude"),
    (column("card_number"), PLAIN, "exclude"),
    (column("cvv", "int2"), Shapes(), "exclude"),
    (column("iban"), PLAIN, "exclude"),
    (column("ssn"), PLAIN, "exclude"),
    (column("passport_no"), PLAIN, "exclude"),
    (column("tax_id"), PLAIN, "exclude"),
    (column("c1"), looks("email"), "mask"),
    (column("c2"), looks("phone", 0.6), "mask"),
    (column("c3"), looks("card"), "exclude"),
    (column("c4"), looks("secret"), "exclude"),
    (column("c5"), looks("opaque"), "exclude"),
    (column("c6"), looks("national_id"), "exclude"),
    (column("c7"), looks("email", 0.2), None),
    (column("c8"), looks("email", 1.0, seen=2), None),  # two values say nothing
    (column("remarks"), PLAIN, "untrusted"),
    (column("customer_comment", "varchar"), PLAIN, "untrusted"),
    (column("c9"), looks("prose", 0.3), "untrusted"),
    (column("payload", "jsonb"), Shapes(), "untrusted"),
    (column("title", "varchar"), PLAIN, None),
    (column("anything"), Shapes(), "untrusted"),  # text without limit that holds nothing yet
    (column("state"), Shapes(), None),
    (column("anything", "varchar"), Shapes(), None),
    (column("fulltext", "tsvector"), Shapes(), None),
    (column("status", "enum"), Shapes(), None),
]


@pytest.mark.parametrize(("each", "shapes", "expected"), COLUMNS, ids=lambda value: getattr(value, "name", None))
def test_columns_are_judged_by_name_and_shape(each: Column, shapes: Shapes, expected: str | None) -> None:
    made = propose_columns(table("t", each), {each.name: shapes}, {"id"})
    proposed = {"exclude": made.exclude, "mask": made.mask, "untrusted": made.untrusted}
    assert {how for how, columns in proposed.items() if each.name in columns} == ({expected} if expected else set())


def test_what_a_key_stands_on_stays_in_clear_and_is_named() -> None:
    made = propose_columns(table("t", column("email"), column("phone")), {}, {"id", "email"})
    assert made.bound == {"email": "e-mail addresses, by its name"}
    assert set(made.mask) == {"phone"}
    assert made.withheld == {"phone"}


def test_without_a_sample_names_alone_decide() -> None:
    made = propose_columns(table("t", column("email"), column("anything")), None, {"id"})
    assert (set(made.mask), set(made.untrusted), made.sampled) == ({"email"}, set(), False)


CITY, PERSON = table("city", column("name")), table("person", column("name"))


def entity(root: Table, *others: FoundTable, rows: float = 10.0, **columns: ColumnProposals) -> entities.EntityProposal:
    chosen = {each.label: each for each in (found(root, rows=rows), *others)}
    proposed = {label: columns.get(each.table.name, ColumnProposals()) for label, each in chosen.items()}
    return entities.propose_entity(chosen[root.label], chosen, proposed, {"visit"})


def key_to(target: Table, *columns: str) -> ForeignKey:
    return ForeignKey("fk_" + "_".join(columns), columns, target.label, target.key)


def test_an_entity_follows_the_foreign_keys_under_names_of_its_own() -> None:
    root = table(
        "visit",
        *(column(name, "int4") for name in ("city_id", "host_id", "guest_id", "city")),
        keys=(key_to(CITY, "city_id"), key_to(PERSON, "host_id"), key_to(PERSON, "guest_id")),
    )
    made = entity(root, found(CITY), found(PERSON))
    assert (made.name, made.root, made.useful) == ("visit_2", "public.visit", True)  # there is a `visit` already
    assert [(each.name, each.table, each.via) for each in made.members] == [
        ("city_2", "public.city", None),  # `city` is a column
        ("host", "public.person", "host_id"),
        ("guest", "public.person", "guest_id"),
    ]


def test_an_entity_leaves_out_what_cannot_be_found_and_marks_what_would_be_a_flood() -> None:
    lost = table("place", column("at", "timetz"), keys=(ForeignKey("fk", ("at",), "public.city", ("id",)),))
    assert entity(lost, found(CITY)).members == ()
    root = table("visit", column("city_id", "int4"), keys=(key_to(CITY, "city_id"),))
    assert entity(root).members == ()  # the city is not captured
    assert entity(root, found(CITY), visit=ColumnProposals(mask={"city_id": "why"})).members == ()
    (member,) = entity(root, found(CITY, rows=5.0), rows=1_000_000.0).members
    assert member.crowd == 200_000.0


@pytest.mark.parametrize("name", ["Order Line", "ünï", "1st", "", "select", "x" * 60, "a.b", "true"])
def test_names_become_names_of_the_file(name: str) -> None:
    first = entities.new_name(name, ())
    second = entities.new_name(name, {first})
    for made in (first, second):
        assert made.isascii()
        assert made[0].isalpha()
        assert len(made) <= entities.LONGEST
    assert first != second


TRIGGERS = [
    (column("status", "enum"), ("open", "cancelled", "done"), "after.status == 'cancelled'", "enter"),
    (column("kind", "enum"), ("small", "big"), "after.kind == 'big'", "enter"),
    (column("state", "text"), ("ok", "it's"), 'after.state == "it\'s"', "enter"),
    (column("order status", "text"), (), "'order status' in changed", "change"),
    (column("in", "enum"), ("yes", "late"), "after.`in` == 'late'", "enter"),
    (column("cancelled_at", "timestamptz"), (), "after.cancelled_at != null", "enter"),
    (column("urgent", "bool"), (), "after.urgent", "enter"),
    (column("größe", "enum"), ("a", "b"), "before != null && after != null", "change"),  # which no condition can name
    (column("name", "text"), (), "before != null && after != null", "change"),
]


@pytest.mark.parametrize(("each", "values", "when", "fire"), TRIGGERS, ids=lambda value: getattr(value, "name", None))
def test_a_trigger_watches_what_says_how_far_something_has_come(
    each: Column, values: tuple[str, ...], when: str, fire: str
) -> None:
    tables = [found(table("t", each), **({each.name: values} if values else {}))]
    best = next(triggers.candidates(tables, {}))
    assert (best.when, best.fire) == (when, fire)
    hidden = ColumnProposals(exclude={each.name: "why"})
    assert next(triggers.candidates(tables, {"public.t": hidden})).column is None


def test_the_busiest_status_comes_first_and_everything_can_be_watched() -> None:
    tables = [
        found(table("quiet", column("status", "enum")), status=("a", "b")),
        found(table("busy", column("status", "enum")), updates=1000.0, status=("a", "b")),
    ]
    labels = [each.label for each in triggers.candidates(tables, {})]
    assert labels == ["public.busy.status", "public.quiet.status", "public.busy", "public.quiet"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True
    )
)
def test_any_name_stands_in_the_file_as_it_is(names: list[str], tmp_path: Path) -> None:
    read = written(names, tmp_path)
    assert list(read["keys"]) == names
    assert read["keys"] == dict.fromkeys(names, {})
    assert read["values"] == names
    assert read["expressions"] == {str(index): name for index, name in enumerate(names)}


@pytest.mark.parametrize(
    "name",
    ["${HOME}", "$${HOME}", "a: b", "- a", "#a", "yes", "1.5", "0x1", ".inf", "~", "null", 'q"', "a\nb", "\x85", "*a"],
)
def test_names_that_mean_something_in_yaml(name: str, tmp_path: Path) -> None:
    read = written([name], tmp_path)
    assert (list(read["keys"]), read["values"], read["expressions"]) == ([name], [name], {"0": name})


def written(names: list[str], directory: Path) -> dict[str, Any]:
    """What the file reads back to, with each name as a key, in a list, as a value of its own and in a comment."""
    path = directory / "names.yaml"
    keys = [f"  {yaml_text.key(name)}: {{}}  # {yaml_text.key(name)}" for name in names]
    values = [f"  {index}: {yaml_text.expression(name)}  # {name!r}" for index, name in enumerate(names)]
    lines = ["keys:", *keys, f"values: {yaml_text.values(names)}", "expressions:", *values]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return document.read(path, {"HOME": "nowhere"}).data
