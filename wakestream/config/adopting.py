"""What of the file cannot be with a source whose connector somebody else runs, and why."""

from __future__ import annotations

from collections.abc import Iterator

from wakestream.config.document import KeyPath
from wakestream.config.models import Config, SlotPolicy, Source, Trigger


def problems(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Every setting that would need order between tables, causes, or a connector of our own."""
    adopted = {name for name, source in config.sources.items() if source.adopt is not None}
    for name in sorted(adopted):
        yield from _source(name, config.sources[name])
    for name, entity in config.entities.items():
        source = entity.root.partition(".")[0]
        if source in adopted:
            yield (
                ("entities", name, "root"),
                f"`{source}` adopts a connector with a topic for each table, between which no order is known, so its"
                " rows cannot be put together: use triggers with `table`, or attach the database without `adopt`",
            )
    for name, trigger in config.triggers.items():
        source = (trigger.table or "").partition(".")[0]
        if source in adopted:
            yield from _without_clock(("triggers", name), source, trigger)
        if source in adopted and not trigger.own_writes:
            yield (
                ("triggers", name),
                f"`{source}` adopts a connector, which tells no causes: what this trigger's own actions change would"
                " fire it too. Write `own_writes: true` when that is right, with a condition that they make untrue",
            )


def _without_clock(path: KeyPath, source: str, trigger: Trigger) -> Iterator[tuple[KeyPath, str]]:
    for setting in ("hold", "absent", "debounce", "batch"):
        if getattr(trigger, setting) is not None:
            yield (
                (*path, setting),
                f"`{source}` adopts a connector, whose topics have no clock to wait by: remove `{setting}`, or attach"
                " the database without `adopt`",
            )


def _source(name: str, source: Source) -> Iterator[tuple[KeyPath, str]]:
    path: KeyPath = ("sources", name)
    if source.admin is not None:
        yield (*path, "admin"), "an adopted connector's publication is not ours: remove `admin`"
    if source.guard != SlotPolicy():
        yield (*path, "guard"), "an adopted connector's slot is not ours to guard: remove `guard`"
    for label, table in source.tables.items():
        if table.replica_identity is not None:
            yield (
                (*path, "tables", label, "replica_identity"),
                "nothing is changed in the database of an adopted connector: remove `replica_identity`",
            )
