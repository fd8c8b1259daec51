"""The steps of a source whose connector somebody else runs: a topic of ours and a revision; nothing of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg

from connectors import adoption, revisions, topics_setup
from connectors.adoption import Adoption
from connectors.source_plan import Attached
from connectors.steps import Step
from wakestream import drifting, kafka, topics
from wakestream.capture import Capture, Revision
from wakestream.catalogue import Catalogue
from wakestream.config import Loaded
from wakestream.errors import RefusedError


@dataclass
class AdoptedPlan:
    """Compares one adopted source with the file; as `SourcePlan`, with nothing to do in the database."""

    loaded: Loaded
    ledger: psycopg.Connection
    source: Attached
    adoption: Adoption
    notes: list[str] = field(default_factory=list[str])
    before: list[Step] = field(default_factory=list[Step])
    after: list[Step] = field(default_factory=list[Step])

    def steps(self) -> Iterator[Step]:
        """Everything that is not yet so, in order."""
        name, config = self.source.name, self.loaded.config
        self.notes += [f"{name}: {flaw.evidence}; {flaw.remedy}" for flaw in self.adoption.flaws]
        self.notes.append(f"{name}: {adoption.MISSING}")
        yield from topics_setup.steps(kafka.admin(config.kafka), name, config.kafka.topics, adopted=True)
        previous, captured = self.source.previous, self.source.capture
        if not revisions.is_same(self.ledger, previous, self.source.catalogue, captured):
            yield Step(
                f"store what is read of connector {self.adoption.name} ({len(captured.tables)} tables) as a revision",
                lambda: revisions.store(self.ledger, None, self.source.catalogue, captured, placed=""),
                object=f"revision of {name}",
                effect="in force when the consumer looks, within seconds; nothing of theirs is touched",
            )


def refuse(source: Attached, judged: Adoption) -> None:
    """Refuse what cannot be read. Raises `RefusedError` with every reason and the setting that would mend it."""
    listed = [f"source {source.name}: {flaw.evidence}; {_pasted(flaw.remedy)}" for flaw in judged.refusals]
    if listed:
        raise RefusedError("\n".join(listed))


def refuse_change(source: Attached, *, adopts: bool) -> None:
    """Refuse to go from a connector of ours to another's, or back: offsets and positions are of one of them.

    Raises `RefusedError`.
    """
    previous = source.previous
    if previous is None or (previous.capture.adopted is not None) == adopts:
        return
    was = "adopted a connector" if previous.capture.adopted is not None else f"has {topics.connector(source.name)}"
    raise RefusedError(
        f"source {source.name} {was} so far, and positions in one are none in the other: `wake detach {source.name}`"
        " with the file as it was, then change it and `wake apply`"
    )


def _pasted(remedy: str) -> str:
    return "; ".join(line.removeprefix("none: ") for line in remedy.split("\n"))


def unapplied(known: Revision, judged: Adoption, found: Catalogue) -> list[str]:
    """What is read otherwise than the connector writes it, or not at all, until `wake apply` has run."""
    old = known.catalogue
    if (old.system_identifier, old.timeline) != (found.system_identifier, found.timeline):
        return ["the database is another one, or was restored"]
    said = [each.label for each in drifting.compare(old, known.capture, found)]
    tables = _read_otherwise(known.capture, judged)
    if tables:
        said.append(f"connector {judged.name} was configured anew, and {', '.join(tables)} arrive otherwise")
    return said


def _read_otherwise(known: Capture, judged: Adoption) -> list[str]:
    adopted = known.adopted
    if adopted is None or known.placeholder != judged.placeholder:
        return sorted(known.tables)
    return sorted(
        label
        for label, settings in known.tables.items()
        if (now := judged.tables.get(label)) is not None
        and (settings.lost, settings.forms, adopted.topics.get(label))
        != (now.lost, now.forms, judged.topics.get(label))
    )
