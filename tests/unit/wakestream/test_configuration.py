from __future__ import annotations

import json
from pathlib import Path

import pytest

from wakestream import config
from wakestream.config.models import Config
from wakestream.errors import ConfigurationError

GOOD = """\
kafka: {bootstrap_servers: "${KAFKA:-127.0.0.1:9092}"}
connect: {url: "http://127.0.0.1:8083", secrets: /etc/wake/secrets.properties}
ledger: {url: "${LEDGER_URL}"}
sources:
  airline:
    capture: "postgresql://capture:hunter2@db/airline"
    admin: "${ADMIN:-}"
    tables:
      public.flight: {}
      public.customer: {exclude: [passport_no], mask: {email: hash}, untrusted: [remarks]}
triggers:
  delayed:
    table: airline.public.flight
    when: after.status == 'delayed'
    fire: enter
    agent: rebooker
agents:
  rebooker: {instructions: prompts/rebooker.md, actions: [rebook]}
actions:
  rebook:
    kind: sql
    connection: airline_ops
    statement: update booking set flight_id = :to where id = :id
    bind: {id: key.id}
    choose: {to: {from: after.alternatives, key: id}}
    approval: never
connections: {airline_ops: "postgresql://ops:hunter2@db/airline"}
models: {default: {provider: local}}
"""
ENVIRONMENT = {"LEDGER_URL": "postgresql://wake:hunter2@db/ledger"}


def load(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> config.Loaded:
    path = tmp_path / "wake.yaml"
    path.write_text(text)
    return config.load(path, ENVIRONMENT if environment is None else environment)


def problems(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text, environment)
    return [line.removeprefix(f"{tmp_path}/") for line in caught.value.problems]


def test_a_good_file_loads_with_variables_defaults_and_empty_ones(tmp_path: Path) -> None:
    loaded = load(tmp_path, GOOD).config
    assert loaded.kafka.bootstrap_servers == "127.0.0.1:9092"
    assert config.reveal(loaded.ledger.url) == ENVIRONMENT["LEDGER_URL"]
    assert loaded.sources["airline"].admin is None
    assert loaded.sources["airline"].tables["public.customer"].mask == {"email": "hash"}
    assert loaded.limits.depth == 3


def test_no_secret_is_in_any_text_of_it(tmp_path: Path) -> None:
    loaded = load(tmp_path, GOOD).config
    assert "hunter2" not in repr(loaded) + str(loaded) + loaded.model_dump_json()


def test_it_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="frozen"):
        load(tmp_path, GOOD).config.limits = None  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("tables:", "tabels:", "wake.yaml:8:5: unknown key `tabels`; did you mean `tables`?"),
        (
            "fire: enter",
            "fire: enterr",
            "wake.yaml:15:5: triggers.delayed.fire: input should be 'enter', 'leave' or 'change'",
        ),
        ("agent: rebooker", "agent: rebookr", "wake.yaml:16:5: no agent `rebookr`; did you mean `rebooker`?"),
        ("actions: [rebook]", "actions: [rebok]", "wake.yaml:18:59: no action `rebok`; did you mean `rebook`?"),
        (
            "table: airline.public.flight",
            "table: airline.public.fligth",
            "wake.yaml:13:5: no captured table `airline.public.fligth`; did you mean `airline.public.flight`?",
        ),
        (
            "kind: sql",
            "kind: sqll",
            "wake.yaml:20:3: actions.rebook: `kind` must be one of 'sql', 'webhook', 'kafka', 'mcp', 'run', 'python'",
        ),
        ("connection: airline_ops", "connection: ops", "wake.yaml:22:5: no connection `ops`; there are: `airline_ops`"),
        (
            "fire: enter",
            "fire: change\n    hold: 30s",
            "wake.yaml:12:3: triggers.delayed: `hold` waits for something to last, and a change does not: fire: enter,"
            " or fire: leave",
        ),
        (
            "bind: {id: key.id}",
            "bind: {id: key.id, to: key.id}",
            "wake.yaml:25:14: `to` is in `bind` already; give it one origin",
        ),
        (
            "exclude: [passport_no], mask: {email: hash}",
            "exclude: [email], mask: {email: hash}",
            "wake.yaml:10:7: `email` is excluded, so it can be neither masked nor untrusted; remove one of the two",
        ),
        (
            "mask: {email: hash}",
            "mask: {email: hsh}",
            "wake.yaml:10:56: sources.airline.tables.public.customer.mask.email: `hsh` is no mask; write hash, redact,"
            " email, last4, or {truncate: 3}",
        ),
        (
            "mask: {email: hash}",
            "mask: {email: {truncate: 0}}",
            "wake.yaml:10:56: sources.airline.tables.public.customer.mask.email: `{'truncate': 0}` is no mask; write"
            " hash, redact, email, last4, or {truncate: 3}",
        ),
    ],
)
def test_a_problem_is_one_line_with_its_place_and_the_fix(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert old in GOOD
    assert problems(tmp_path, GOOD.replace(old, new, 1)) == [line]


def test_masks_that_keep_some_characters(tmp_path: Path) -> None:
    text = GOOD.replace("mask: {email: hash}", "mask: {email: email, card: last4, note: {truncate: 3}}")
    table = load(tmp_path, text).config.sources["airline"].tables["public.customer"]
    assert table.mask == {"email": "email", "card": "last4", "note": "truncate:3"}


def test_a_missing_variable_names_itself_and_its_place(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD, {}) == [
        "wake.yaml:3:10: the variable LEDGER_URL is not set; export LEDGER_URL=… or write ${LEDGER_URL:-default}"
    ]


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    broken = GOOD.replace("fire: enter", "fire: enterr").replace("kind: sql", "kind: sqll")
    assert len(problems(tmp_path, broken)) == 2


@pytest.mark.parametrize("text", ["kafka: [", "- 1", "kafka: 'x\n", ""])
def test_what_is_no_yaml_or_no_mapping_says_where(tmp_path: Path, text: str) -> None:
    (line,) = problems(tmp_path, text)
    assert line.startswith("wake.yaml:")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        config.load(tmp_path / "none.yaml", {})


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_point_inside_a_text_is_placed_behind_its_quote(tmp_path: Path, quote: str) -> None:
    text = GOOD.replace("when: after.status == 'delayed'", f"when: {quote}after.late{quote}")
    document = load(tmp_path, text).document
    place = document.value_place(("triggers", "delayed", "when"), line=1, column=7)
    assert place.endswith(f"wake.yaml:14:{11 + len(quote) + 6}")


def test_an_escaped_variable_stays(tmp_path: Path) -> None:
    text = GOOD.replace("status == 'delayed'", "status == '$${X}'")
    assert load(tmp_path, text).config.triggers["delayed"].when == "after.status == '${X}'"


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("15m", 900), ("2h", 7200), ("7d", 604800), ("12", 12)]
)
def test_durations(tmp_path: Path, text: str, seconds: float) -> None:
    quoted = GOOD.replace("approval: never", f"approval: never\n    timeout: {text}")
    assert load(tmp_path, quoted).config.actions["rebook"].timeout == seconds


def test_the_schema_in_the_tree_is_that_of_the_models() -> None:
    stored = json.loads((Path(config.__file__).parents[1] / "wake.schema.json").read_text())
    assert stored["properties"].keys() == Config.model_json_schema()["properties"].keys()
