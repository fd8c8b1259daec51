"""The list of checks: the same in the code and on its page, and every check of it is really made somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connectors.checks import finding, kafka, remedies
from connectors.checks.finding import CHECKS, GROUPS, size, span
from connectors.services import PLAIN, SERVICES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/checks.md").read_text()
ROWS = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (.+?) \| (error|warning) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)


def test_the_page_has_every_check_with_its_level_and_no_other() -> None:
    assert {id: level for id, _, level, _, _ in ROWS} == CHECKS
    assert len(ROWS) == len(CHECKS) == len(re.findall(r"^\| `[a-z]+\.", PAGE, re.MULTILINE))


def test_the_page_has_the_groups_in_the_order_in_which_they_are_shown() -> None:
    assert tuple(re.findall(r"^## (.+)$", PAGE, re.MULTILINE)) == GROUPS
    assert {id.partition(".")[0] for id in CHECKS} == set(GROUPS)


def test_every_check_is_made_and_no_other() -> None:
    code = "".join(path.read_text() for path in (ROOT / "connectors").glob("**/*.py") if path.name != "finding.py")
    made = set(re.findall(r'"([a-z]+\.[a-z_]+)"', code)) & {*CHECKS}
    unanswered = {f"{group}.unanswered" for group in GROUPS}
    assert made | unanswered == set(CHECKS)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_managed_service_has_ways_of_its_own(service: remedies.Service) -> None:
    assert remedies.logical(service) != remedies.logical(PLAIN)
    assert "alter system" not in remedies.setting(service, "max_wal_senders", "20", restart=True)
    assert remedies.replication(service, "cap") != remedies.replication(PLAIN, "cap")


def test_rds_has_a_role_in_the_place_of_the_attribute() -> None:
    rds = next(service for service in SERVICES if service.replication_role)
    assert remedies.replication(rds, "Cap") == 'grant "rds_replication" to "Cap";'
    assert remedies.replication(PLAIN, "Cap") == 'alter role "Cap" replication;'


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 bytes"), (2000, "2000 bytes"), (20480, "20 kB"), (3 * 1024**4, "3072 GB")]
)
def test_sizes(number: float, said: str) -> None:
    assert size(number) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(1, "1 s"), (90, "90 s"), (120, "2 min"), (7200, "2 h"), (1e6, "12 days")]
)
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_a_finding_has_the_level_of_its_check() -> None:
    found = finding.finding("server.version", "airline", "old", "none: upgrade")
    assert (found.level, found.group) == ("error", "server")


@pytest.mark.parametrize(
    ("brokers", "copies", "needed", "remedy"),
    [
        (1, 1, "1", None),
        (3, 3, "2", None),
        (3, 1, "1", "none: move air.changes to three copies"),
        (3, 3, "1", "run: kafka-configs --alter --entity-type topics --entity-name air.changes --add-config min"),
    ],
)
def test_copies_of_a_topic(brokers: int, copies: int, needed: str, remedy: str | None) -> None:
    settings = {"cleanup.policy": "delete", "min.insync.replicas": needed}
    found = list(kafka.settings("air.changes", {}, settings, copies, brokers))
    assert [each.id for each in found] == (["kafka.replication"] if remedy else [])
    assert remedy is None or found[0].remedy.startswith(remedy)
