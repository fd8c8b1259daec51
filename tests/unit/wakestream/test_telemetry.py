from __future__ import annotations

import json
import logging

from wakestream.telemetry import JsonLines


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.getLogger("test").makeRecord("test", logging.WARNING, "f", 1, message, ("x",), None, extra=extra)


def test_a_line_is_one_json_object_with_sentence_and_action() -> None:
    line = JsonLines().format(record("waits for %s\nand on", action="waits", place={"offset": 7}, odd=object))
    assert "\n" not in line
    told = json.loads(line)
    assert told["message"] == "waits for x\nand on"
    assert (told["level"], told["action"], told["place"]) == ("warning", "waits", {"offset": 7})
    assert "time" in told and "odd" in told
