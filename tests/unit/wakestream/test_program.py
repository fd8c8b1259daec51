from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.agent import airline
from wakestream import config
from wakestream.capture import CapturedTable, Revision
from wakestream.condition_scope import ListOf
from wakestream.conditions import Condition
from wakestream.config import Loaded
from wakestream.errors import ConfigurationError
from wakestream.program import Program, compile_program

URLS = {
    "ledger": "postgresql://l",
    "lookups": "postgresql://k",
    "ops": "postgresql://o",
    "webhook": "http://w",
    "model": "http://m",
}


def load(directory: Path, *replacements: tuple[str, str], instructions: str = airline.INSTRUCTIONS) -> Loaded:
    text = airline.CONFIG.format(**URLS)
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    (directory / "rebooker.md").write_text(instructions)
    path = directory / "wake.yaml"
    path.write_text(text)
    return config.load(path, {})


def compiled(directory: Path, *replacements: tuple[str, str]) -> Program:
    return compile_program(load(directory, *replacements), {"airline": airline.REVISION})


def problems(
    directory: Path,
    *replacements: tuple[str, str],
    revision: Revision = airline.REVISION,
    instructions: str = "Be kind.",
) -> list[str]:
    """What is wrong, without the directory's name."""
    with pytest.raises(ConfigurationError) as caught:
        compile_program(load(directory, *replacements, instructions=instructions), {"airline": revision})
    return [problem.removeprefix(f"{directory}/") for problem in caught.value.problems]


def place(directory: Path, fragment: str) -> str:
    """`file:line:column` of a fragment in the configuration as it was written last."""
    lines = (directory / "wake.yaml").read_text().splitlines()
    number, line = next((number, line) for number, line in enumerate(lines, 1) if fragment in line)
    return f"wake.yaml:{number}:{line.index(fragment) + 1}"


def test_compiles_the_airline(tmp_path: Path) -> None:
    program = compiled(tmp_path)
    trigger = program.triggers["disrupted"]
    assert (trigger.source, trigger.subject) == ("airline", "booking")
    assert trigger.reads == {"status", "flight.status"}
    rebook = trigger.agent.actions["rebook"]
    assert list(rebook.bind) == ["booking", "from_flight"]
    assert isinstance(rebook.choose["to_flight"].source.node, ListOf)
    assert isinstance(rebook.approval, Condition)
    assert trigger.agent.actions["notify"].approval == "never"
    assert list(trigger.agent.lookups) == ["seats"]
    assert program.untrusted == {"airline": {"remarks"}}


def test_digest_follows_what_matters(tmp_path: Path) -> None:
    first = compiled(tmp_path).digest
    assert compiled(tmp_path).digest == first
    assert compiled(tmp_path, ("approval: never", "approval: always")).digest != first
    assert compiled(tmp_path, ("127.0.0.1:1", "127.0.0.1:2")).digest == first
    other = compile_program(load(tmp_path, instructions="Do nothing."), {"airline": airline.REVISION})
    assert other.digest != first


WHEN = "after.status == 'confirmed'"
APPROVAL = "chosen.to_flight.fare > after.flight.fare + 200.0"


@pytest.mark.parametrize(
    ("old", "new", "fragment", "message"),
    [
        (WHEN, "after.statuss == 'confirmed'", "after.statuss", "did you mean after.status?"),
        (WHEN, "after.flight.delay_min > '30'", "> '30'", "compare with 30"),
        (WHEN, "after.email == 'x'", "after.email", "excluded or masked"),
        (WHEN, "after.passport_no == 'x'", "after.passport_no", "excluded or masked"),
        (WHEN, "before.status == 'x'", "before.status", "fire: enter reads"),
        (WHEN, "after.alternatives.exists(a, a.sets > 1)", "a.sets", "no such column"),
        (APPROVAL, "args.note == 'x'", "args.note", "trust_model_arguments"),
        (APPROVAL, "chosen.to_flight.fair > 1.0", "chosen.to_flight.fair", "did you mean chosen.to_flight.fare?"),
        (APPROVAL, "chosen.to_flight.fare", "chosen.to_flight.fare", "true or false"),
        (APPROVAL, "bound.bookin == 1", "bound.bookin", "did you mean bound.booking?"),
        ("bind: {booking: after.id,", "bind: {booking: after.ide,", "after.ide", "did you mean after.id?"),
        ("bind: {booking: after.id,", "bind: {booking: after.email,", "after.email", "excluded or masked"),
        ("bind: {booking: after.id,", "bind: {booking: args.x,", "args.x", "trust_model_arguments"),
        ("from: after.alternatives", "from: after.flight.crew", "after.flight.crew", "is not a list of rows"),
        ("from: after.alternatives", "from: after.flight", "after.flight, key", "is not a list of rows"),
        ("bind: {flight: after.flight_id}", "bind: {flight: after.flight_ids}", "after.flight_ids", "did you mean"),
        ("= :booking and", "= :bookin and", ":bookin", "`:bookin` is given no value; did you mean `booking`?"),
    ],
)
def test_problem_in_a_value(tmp_path: Path, old: str, new: str, fragment: str, message: str) -> None:
    found = problems(tmp_path, (old, new))
    expected = place(tmp_path, fragment)
    assert any(line.startswith(f"{expected}: ") and message in line for line in found), (expected, found)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("key: id}", "key: idd}", "the elements of after.alternatives have no column `idd`; did you mean `id`?"),
        ("key: id}", "key: crew}", "`crew` is not a single value"),
        (" and flight_id = :from_flight", "", "`from_flight` is not used"),
        ("note = :note", "note = 'x'", "`note` is not used"),
        ("{type: string, maxLength: 80}", "{type: strin}", "`note` is not a JSON Schema"),
        ("instructions: rebooker.md", "instructions: nowhere.md", "no such file"),
    ],
)
def test_problem_at_a_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    found = problems(tmp_path, (old, new))
    assert len(found) == 1
    assert found[0].startswith("wake.yaml:")
    assert message in found[0]


def test_trusting_action_reads_args(tmp_path: Path) -> None:
    compiled(tmp_path, (APPROVAL, "args.note == 'x'\n    trust_model_arguments: true"))


def test_bind_reads_what_was_bound_before_it(tmp_path: Path) -> None:
    compiled(tmp_path, ("from_flight: after.flight_id", "from_flight: bound.booking + 1"))
    found = problems(tmp_path, ("bind: {booking: after.id,", "bind: {booking: bound.from_flight,"))
    assert "bound.from_flight" in found[0]


def test_problem_in_the_instructions(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        compile_program(load(tmp_path, instructions="Hello\n{{ aftr }}"), {"airline": airline.REVISION})
    expected = f"{tmp_path}/rebooker.md:2:1: `aftr` is not available here; did you mean `after`?"
    assert caught.value.problems == (expected,)


def test_all_problems_at_once_and_each_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        (WHEN, "after.statuss == 'confirmed'"),
        ("key: id}", "key: idd}"),
        ("instructions: rebooker.md", "instructions: nowhere.md"),
        ("note = :note", "note = 'x'"),
    )
    assert len(found) == len(set(found)) == 4


TABLE = (
    ("    entity: booking\n", "    table: airline.public.flight\n"),
    ("after.status == 'confirmed' && after.flight.status in", "after.status in"),
    ("lookups: [seats], actions: [rebook, notify]", "lookups: [], actions: []"),
)
DELAYED = "after.status in ['delayed', 'cancelled']"


def blind(table: str = "public.flight") -> Revision:
    tables = {**airline.CAPTURE.tables, table: CapturedTable(mirror=False)}
    return Revision(1, "airline", airline.CATALOGUE, msgspec.structs.replace(airline.CAPTURE, tables=tables))


def test_enter_needs_a_mirror(tmp_path: Path) -> None:
    found = problems(tmp_path, *TABLE, revision=blind())
    assert len(found) == 1
    assert "fire: enter needs the previous row, and public.flight has `mirror: false`" in found[0]


@pytest.mark.parametrize("condition", ["before.status == 'x'", "changed.exists(c, c == 'status')"])
def test_before_and_changed_need_a_mirror(tmp_path: Path, condition: str) -> None:
    change = ("fire: enter", "fire: change")
    when = (DELAYED, condition)
    found = problems(tmp_path, *TABLE, change, when, revision=blind())
    assert len(found) == 1
    assert "is never known here: public.flight has `mirror: false`" in found[0]
    loaded = load(tmp_path, *TABLE, change, instructions="Be kind.")
    compile_program(loaded, {"airline": blind()})


OF_AUDIT = (*TABLE[1:], (TABLE[0][0], "    table: airline.public.audit\n"))


def test_enter_needs_no_key(tmp_path: Path) -> None:
    loaded = load(tmp_path, *OF_AUDIT, (DELAYED, "after.note == 'x'"), instructions="Be kind.")
    found = compile_program(loaded, {"airline": blind("public.audit")}).triggers
    assert [each.subject for each in found.values()] == ["public.audit"]


def test_there_is_nothing_in_no_key(tmp_path: Path) -> None:
    found = problems(tmp_path, *OF_AUDIT, (DELAYED, "after.note == 'x' && key.note == 'x'"))
    assert any("key.note: no such column in the key of public.audit; it has none" in each for each in found), found


def test_a_source_without_revision(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing is known of source `airline` yet; run `wake apply`"):
        compile_program(load(tmp_path), {})
