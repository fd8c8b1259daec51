"""Several events of one key as one: the first image before, the last one after, and the steps between."""

from __future__ import annotations

from typing import Any

from agent import json_text
from wakestream.events import ContextEvent

LONGEST = 100
"""Steps that are listed; of later ones only the effect stands in the net change."""

_TYPES = {"insert": "row.inserted", "update": "row.updated", "delete": "row.deleted"}


def step(event: ContextEvent) -> dict[str, Any]:
    """What the list of steps says of one event."""
    data = event.data
    changed = None if data.changed is None else list(data.changed)
    return {"id": event.id, "time": event.time, "op": data.op, "changed": changed}


def between(first: str, last: str, steps: list[dict[str, Any]]) -> str:
    """The net change from before the first event to after the last one, as an event with the last one's identity.

    The cause is the first one's: what began the wait was not our own doing, whatever followed.
    """
    begin, end = json_text.load(first), json_text.load(last)
    old, new = begin["data"], end["data"]
    before, after = old.get("before"), new.get("after")
    missing = [path for path in old.get("missing", ()) if _of(path) == "before"]
    missing += [path for path in new.get("missing", ()) if _of(path) == "after"]
    data = {
        **new,
        "before": before,
        "after": after,
        "changed": _changed(before, after, steps),
        "missing": missing,
        "untrusted": sorted({*old.get("untrusted", ()), *new.get("untrusted", ())}),
        "cause": old.get("cause"),
        "steps": steps[:LONGEST],
    }
    if "rows" in new:
        data["rows"] = sorted({*old.get("rows", ()), *new["rows"]})
    net = {**end, "data": data}
    if new.get("op") is not None and (before is not None or after is not None):
        data["op"] = "insert" if before is None else "delete" if after is None else "update"
        net["type"] = _TYPES[data["op"]]
    return json_text.dump(net)


def cancels_out(event: str) -> bool:
    """Whether everything is again as it was before the first step."""
    data = json_text.load(event)["data"]
    return not data["missing"] and data["before"] == data["after"]


def _of(path: str) -> str:
    return path.partition(".")[0]


def _changed(before: Any, after: Any, steps: list[dict[str, Any]]) -> list[str] | None:
    """Of the paths that any step changed, those at which the two images differ; null where one is not there."""
    if before is None or after is None:
        return None
    touched = {path for each in steps for path in each["changed"] or ()}
    if any(each["changed"] is None for each in steps):  # a row that went and came back
        touched = {*before, *after}
    return sorted(path for path in touched if _at(before, path) != _at(after, path))


def _at(image: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(image, dict):
            return None
        image = image.get(part)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return image  # pyright: ignore[reportUnknownVariableType]
