"""What keeps an action from running, in the file: fences."""

from __future__ import annotations

from wakestream.config.sections import Section


class PolicySection(Section):
    """When an action may happen, and until when its decision counts; the same for every kind."""

    fence: tuple[str, ...] = ()
    """Paths of the document that the decision rests on, besides what condition, `bind`, `choose`, `approval` read."""
