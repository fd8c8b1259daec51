"""A Connect worker that says what a test has it say, quicker than a real one."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from connectors import connector_config
from tests.stack.doctoring import Patient
from tests.unit.connectors.connect_script import Answer, Script, error, serving
from wakestream import kafka


@dataclass
class Worker:
    """A Connect worker as it would answer."""

    cluster: str
    version: str = "4.3.1"
    plugins: dict[str, str] = field(default_factory=lambda: {connector_config.CLASS: "3.7.0.Final"})
    state: str | None = None
    """Of the connector and its task; None: there is no connector."""
    trace: str = ""
    said: str = ""
    """What the validation of the source's address finds."""

    def answer(self, request: str, body: Any) -> Answer:
        verb, _, path = request.partition(" ")
        if path == "/":
            return Answer(200, {"version": self.version, "commit": "c", "kafka_cluster_id": self.cluster})
        if path.startswith("/connector-plugins?"):
            plugins = [{"class": name, "type": "source", "version": of} for name, of in self.plugins.items()]
            return Answer(200, plugins)
        if verb == "PUT":
            return self._validation(body)
        if path.startswith("/connectors?"):
            return Answer(200, {})
        if self.state is None:
            return error(404, "Connector wake-air not found")
        part = {"state": self.state, "worker_id": "w", "trace": self.trace}
        running = {**part, "state": "RUNNING", "trace": ""}
        return Answer(200, {"name": "wake-air", "connector": running, "tasks": [{"id": 0, **part}], "type": "source"})

    def _validation(self, body: dict[str, str]) -> Answer:
        if "/secrets/connect.properties/" in body["topic.prefix"]:
            text = "org.apache.kafka.common.config.ConfigException: Could not read properties from file"
            return error(500, text)
        errors = [self.said] if self.said and "database.hostname" in body else []
        value = {"name": "database.hostname", "errors": errors}
        return Answer(200, {"name": "x", "error_count": len(errors), "configs": [{"value": value}]})


@contextmanager
def playing(one: Patient) -> Generator[Worker]:
    """One that is well, and that the file names."""
    worker = Worker(str(kafka.admin(one.load().config.kafka).list_topics(timeout=10).cluster_id))
    script = Script([])
    script.state = lambda: worker.answer(script.requests[-1], script.bodies[-1])
    with serving(script):
        one.connect = {"url": script.url}
        yield worker
