"""The text of the first `wake.yaml`, commented for somebody who has never seen one."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.init.columns import ColumnProposals
from connectors.init.entities import EntityProposal, MemberProposal
from connectors.init.proposal import Proposal
from connectors.init.survey import FoundTable
from connectors.init.yaml_text import expression, key, value, values, visible
from wakestream import condition_problems
from wakestream.mirroring import is_lost

NOWHERE = "http://127.0.0.1:9"  # the port that takes nothing

_HEAD = """\
# Proposed by `wake init` from the catalogue, the statistics and the shapes of sampled values; no value is in here.
# Nothing has been changed anywhere. Read it, change it, then: wake apply
# What comes from the environment is written ${{NAME}}; what may stay empty ${{NAME:-}}.
kafka: {{bootstrap_servers: "${{KAFKA_BOOTSTRAP}}"}}
connect: {{url: "${{CONNECT_URL}}", secrets: "${{CONNECT_SECRETS}}"}}  # secrets: a file, as the worker sees it
ledger: {{url: "${{LEDGER_URL}}"}}  # our own, PostgreSQL 18 or newer; for lookups add lookups: "${{LOOKUPS_URL}}"

sources:
  {source}:
    capture: "${{{capture}}}"  # a role with REPLICATION and SELECT (roles.sql); a direct connection, no pooler
    admin: "${{{admin}:-}}"  # a role that may make the publication; empty: `wake apply` prints the SQL for who may
    tables:
"""

_REST = """\
agents:
  {agent}: {{instructions: prompts/{agent}.md, actions: [notify]}}

actions:
  notify:
    kind: webhook
    description: tell the team what has happened
    url: "${{NOTIFY_URL:-{nowhere}}}"  # your own receiver; until it is set nothing is listening there
    bind: {{{bind}}}  # filled in by us, never by the model
    parameters: {{message: {{type: string, minLength: 10, maxLength: 300}}}}
    approval: always  # a person decides: wake actions approve ACTION

models:
  default: {{provider: local}}  # `wake model serve`; or {{base_url: …, name: …, api_key: "${{API_KEY}}"}}
"""


def render(proposal: Proposal) -> str:
    """The whole file."""
    head = _HEAD.format(source=proposal.source, capture=proposal.capture_variable, admin=proposal.admin_variable)
    rest = _REST.format(agent=proposal.agent, nowhere=NOWHERE, bind=_bind(proposal))
    parts = [*_tables(proposal), "", *_entities(proposal), *_triggers(proposal), ""]
    return head + "\n".join(parts) + "\n" + rest


def _tables(proposal: Proposal) -> Iterator[str]:
    chosen = set(proposal.chosen)
    for found in proposal.survey.tables:
        if found.label in chosen:
            columns = proposal.columns[found.label]
            yield f"      # {_size(found)}; key: {', '.join(map(key, found.table.key))}"
            yield from (f"      #   {note}" for note in _notes(found, columns))
            yield f"      {key(found.label)}: {_settings(columns)}"
    rest = [each for each in proposal.survey.capturable if each.label not in chosen]
    if rest:
        yield "      # Not chosen; their columns were judged by name only:"
    for found in rest:
        yield f"      # {key(found.label)}: {_settings(proposal.columns[found.label])}  # {_size(found)}"
    refused = [each for each in proposal.survey.tables if each.refusal is not None]
    if refused:
        yield "      # Cannot be captured:"
    for found in refused:
        yield f"      # {key(found.label)}: {visible((found.refusal or '').removeprefix(found.label).strip())}"


def _size(found: FoundTable) -> str:
    plural = "" if found.rows == 1 else "s"
    rows = "unknown number of rows" if found.rows is None else f"about {found.rows:,.0f} row{plural}"
    if found.writes_per_hour is None:
        return rows
    return f"{rows}, {found.writes_per_hour:,.0f} writes an hour"


def _notes(found: FoundTable, columns: ColumnProposals) -> Iterator[str]:
    for how, reasons in (("excluded", columns.exclude), ("masked", columns.mask), ("untrusted", columns.untrusted)):
        for name, why in reasons.items():
            yield f"{key(name)} {how}: {why}"
    for name, why in columns.bound.items():
        yield f"{key(name)} in clear, for a key or foreign key needs it: {why}"
    lost = [
        key(column.name) for column in found.table.columns if is_lost(column) and column.name not in columns.exclude
    ]
    if lost:
        yield f"never arrives whole, by its type: {', '.join(lost)}"
    if found.row_security:
        yield "has row-level security: the first snapshot shows only the rows that the capture role may see (bypassrls)"
    if not columns.sampled:
        yield "could not be sampled in time, or may not be read by this role: its columns were judged by name only"


def _settings(columns: ColumnProposals) -> str:
    parts: list[str] = []
    if columns.exclude:
        parts.append(f"exclude: {values(columns.exclude)}")
    if columns.mask:
        parts.append(f"mask: {{{', '.join(f'{key(name)}: hash' for name in columns.mask)}}}")
    if columns.untrusted:
        parts.append(f"untrusted: {values(columns.untrusted)}")
    return f"{{{', '.join(parts)}}}"


def _entities(proposal: Proposal) -> Iterator[str]:
    if proposal.entity.useful:
        yield "# A row with the rows that it refers to, as one document; a change of any of them is a change of it."
        yield "entities:"
        yield from (f"  {line}" for line in _entity(proposal.source, proposal.entity))
    further = proposal.others if proposal.entity.useful else (proposal.entity, *proposal.others)
    further = tuple(each for each in further if each.members)
    if further and not proposal.entity.useful:
        yield "# entities:"
    for other in further:
        yield from (f"  # {line}" for line in _entity(proposal.source, other))
    if proposal.entity.useful or further:
        yield ""


def _entity(source: str, entity: EntityProposal) -> Iterator[str]:
    yield f"{entity.name}:"
    yield f"  root: {value(f'{source}.{entity.root}')}"
    yield "  include:"
    for member in entity.members:
        if member.crowd:
            crowd = f"one of its rows has about {member.crowd:,.0f} of these, and a change of it is a change of all"
            yield f"    # {_member(member)}  # {crowd}"
        else:
            yield f"    {_member(member)}"


def _member(member: MemberProposal) -> str:
    parts = [f"{name}: {value(text)}" for name, text in (("table", member.table), ("via", member.via)) if text]
    return f"{member.name}: {{{', '.join(parts)}}}"


def _triggers(proposal: Proposal) -> Iterator[str]:
    trigger, entity = proposal.trigger, proposal.entity
    yield "triggers:"
    yield f"  {trigger_name(proposal)}:"
    yield (
        f"    entity: {entity.name}" if entity.useful else f"    table: {value(f'{proposal.source}.{trigger.table}')}"
    )
    others = f"  # or {', '.join(map(key, trigger.others[:8]))}" if trigger.others else ""
    yield f"    when: {expression(trigger.when)}{others}"
    yield f"    fire: {trigger.fire}  # {'it became true' if trigger.fire == 'enter' else 'each time it is true'}"
    yield f"    agent: {proposal.agent}"


def trigger_name(proposal: Proposal) -> str:
    """The first trigger's name."""
    return f"{proposal.entity.name[:33]}_changed"


def _bind(proposal: Proposal) -> str:
    """The key's columns, as far as a name of the file can be made of theirs."""
    found = proposal.survey.find(proposal.trigger.table)
    names = found.table.key if found else ()
    paths = {
        name: f"after.{condition_problems.written(name)}" for name in names if name.isidentifier() and name.isascii()
    }
    return ", ".join(f"{key(name)}: {value(path)}" for name, path in paths.items())
