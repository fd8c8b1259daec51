"""Each method makes the one request that it names, and gives back what Connect 4.3.1 answered to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connectors.connect import Connect, ConnectAway, ConnectDenied, types
from connectors.connect_rest import Rest
from tests.unit.connectors.connect_script import JETTY_404, Answer, Script, error, serving

CONFIG: dict[str, str | None] = {"connector.class": "io.x.PostgresConnector"}
NAMED = {**CONFIG, "name": "a b/c"}
PATH = "/connectors/a%20b%2Fc"
TASK_BODY = {"id": 0, "state": "FAILED", "worker_id": "w:1", "trace": "x.Y: z", "version": "3.7.0.Final"}
STATUS = {
    "name": "a b/c",
    "connector": {"state": "RUNNING", "worker_id": "w:1", "version": "3.7.0.Final"},
    "tasks": [TASK_BODY],
    "type": "source",
}
INFO = {"name": "a b/c", "config": NAMED, "tasks": [{"connector": "a b/c", "task": 0}], "type": "source"}
STATE = types.ConnectorState("RUNNING", "w:1", version="3.7.0.Final")
TASK = types.TaskStatus(0, "FAILED", "w:1", trace="x.Y: z", version="3.7.0.Final")
STATUS_ = types.Status("a b/c", STATE, (TASK,), "source")
INFO_ = types.ConnectorInfo("a b/c", {**NAMED}, (types.TaskId("a b/c", 0),), "source")
OFFSETS = {"offsets": [{"partition": {"server": "t"}, "offset": {"lsn": 24637216}}]}
OFFSET = types.Offset({"server": "t"}, {"lsn": 24637216})
KEY = {"name": "p", "type": "INT", "required": True, "default_value": None, "importance": "HIGH", "width": "SHORT"}
VALUE = {"name": "p", "value": "hunter2", "errors": ["no"], "recommended_values": ["1"], "visible": True}
FIELD = types.FieldValue("p", ("no",), ("1",))
CREATE = {"name": "a b/c", "config": NAMED, "initial_state": "STOPPED"}
VALIDATION = {"name": "x", "error_count": 1, "groups": [], "configs": [{"definition": KEY, "value": VALUE}]}

Call = Callable[[Connect], Any]
N = "a b/c"
CALLS: list[tuple[Call, str, Any, Answer, Any]] = [
    (
        lambda c: c.worker(),
        "GET /",
        None,
        Answer(200, {"version": "4.3.1", "commit": "2", "kafka_cluster_id": "U"}),
        types.Worker("4.3.1", "2", "U"),
    ),
    (
        lambda c: c.health(),
        "GET /health",
        None,
        Answer(200, {"status": "healthy", "message": "ready"}),
        types.Health("healthy", "ready"),
    ),
    (
        lambda c: c.health(),
        "GET /health",
        None,
        Answer(503, {"status": "starting", "message": "m"}),
        types.Health("starting", "m"),
    ),
    (
        lambda c: c.health(),
        "GET /health",
        None,
        Answer(500, {"status": "unhealthy", "message": "m"}),
        types.Health("unhealthy", "m"),
    ),
    (lambda c: c.health().status, "GET /health", None, Answer(404, JETTY_404), "starting"),
    (
        lambda c: c.loggers(),
        "GET /admin/loggers",
        None,
        Answer(200, {"io.x": {"level": "INFO", "last_modified": 1}}),
        {"io.x": types.Logger("INFO", 1)},
    ),
    (
        lambda c: c.logger("io.x"),
        "GET /admin/loggers/io.x",
        None,
        Answer(200, {"level": "INFO", "last_modified": None}),
        types.Logger("INFO"),
    ),
    (
        lambda c: c.set_logger("io.x", "DEBUG"),
        "PUT /admin/loggers/io.x?scope=worker",
        {"level": "DEBUG"},
        Answer(200, ["io.x"]),
        ("io.x",),
    ),
    (
        lambda c: c.set_logger("io.x", "DEBUG", scope="cluster"),
        "PUT /admin/loggers/io.x?scope=cluster",
        {"level": "DEBUG"},
        Answer(204),
        (),
    ),
    (
        lambda c: c.plugins(),
        "GET /connector-plugins?connectorsOnly=true",
        None,
        Answer(200, [{"class": "x", "type": "source", "version": "3"}]),
        (types.Plugin("x", "source", "3"),),
    ),
    (
        lambda c: c.plugins(connectors_only=False),
        "GET /connector-plugins?connectorsOnly=false",
        None,
        Answer(200, []),
        (),
    ),
    (
        lambda c: c.plugin_config("P"),
        "GET /connector-plugins/P/config",
        None,
        Answer(200, [KEY]),
        (types.ConfigKey("p", "INT", True, "HIGH"),),
    ),
    (
        lambda c: c.validate(N, CONFIG),
        "PUT /connector-plugins/io.x.PostgresConnector/config/validate",
        NAMED,
        Answer(200, VALIDATION),
        types.Validation("x", 1, (types.Field(FIELD),)),
    ),
    (lambda c: c.connectors(), "GET /connectors", None, Answer(200, [N]), (N,)),
    (
        lambda c: c.overview(),
        "GET /connectors?expand=status&expand=info",
        None,
        Answer(200, {N: {"status": STATUS, "info": INFO}}),
        {N: types.Listed(STATUS_, INFO_)},
    ),
    (lambda c: c.connector(N), f"GET {PATH}", None, Answer(200, INFO), INFO_),
    (lambda c: c.config(N), f"GET {PATH}/config", None, Answer(200, NAMED), NAMED),
    (lambda c: c.create(N, CONFIG, initial_state="STOPPED"), "POST /connectors", CREATE, Answer(201, INFO), INFO_),
    (lambda c: c.put_config(N, CONFIG), f"PUT {PATH}/config", NAMED, Answer(201, INFO), INFO_),
    (lambda c: c.patch_config(N, {"x": None}), f"PATCH {PATH}/config", {"x": None}, Answer(200, INFO), INFO_),
    (lambda c: c.delete(N), f"DELETE {PATH}", None, Answer(204), None),
    (lambda c: c.status_now(N), f"GET {PATH}/status", None, Answer(200, STATUS), STATUS_),
    (lambda c: c.status(N), f"GET {PATH}/status", None, Answer(200, STATUS), STATUS_),
    (lambda c: c.topics(N), f"GET {PATH}/topics", None, Answer(200, {N: {"topics": ["t"]}}), ("t",)),
    (lambda c: c.reset_topics(N), f"PUT {PATH}/topics/reset", None, Answer(202), None),
    (
        lambda c: c.tasks(N),
        f"GET {PATH}/tasks",
        None,
        Answer(200, [{"id": {"connector": N, "task": 0}, "config": {"k": "v"}}]),
        (types.TaskInfo(types.TaskId(N, 0), {"k": "v"}),),
    ),
    (lambda c: c.task_status(N, 0), f"GET {PATH}/tasks/0/status", None, Answer(200, TASK_BODY), TASK),
    (lambda c: c.restart_task(N, 0), f"POST {PATH}/tasks/0/restart", None, Answer(204), None),
    (
        lambda c: c.restart(N),
        f"POST {PATH}/restart?includeTasks=true&onlyFailed=true",
        None,
        Answer(202, STATUS),
        STATUS_,
    ),
    (
        lambda c: c.restart(N, only_failed=False),
        f"POST {PATH}/restart?includeTasks=true&onlyFailed=false",
        None,
        Answer(202, STATUS),
        STATUS_,
    ),
    (lambda c: c.pause(N), f"PUT {PATH}/pause", None, Answer(202), None),
    (lambda c: c.resume(N), f"PUT {PATH}/resume", None, Answer(202), None),
    (lambda c: c.stop(N), f"PUT {PATH}/stop", None, Answer(204), None),
    (lambda c: c.offsets(N), f"GET {PATH}/offsets", None, Answer(200, OFFSETS), (OFFSET,)),
    (lambda c: c.patch_offsets(N, [OFFSET]), f"PATCH {PATH}/offsets", OFFSETS, Answer(200, {"message": "m"}), "m"),
    (lambda c: c.delete_offsets(N), f"DELETE {PATH}/offsets", None, Answer(200, {"message": "m"}), "m"),
]


@pytest.mark.parametrize(("call", "request_line", "body", "answer", "result"), CALLS, ids=[case[1] for case in CALLS])
def test_call(call: Call, request_line: str, body: Any, answer: Answer, result: Any) -> None:
    with serving(Script([answer])) as script, Connect(script.url + "/", retry_s=0) as client:
        assert call(client) == result
    assert script.requests == [request_line]
    assert script.bodies == [body]


def test_every_method_is_called() -> None:
    methods = {name for name, value in vars(Rest).items() if callable(value) and not name.startswith("_")}
    called = {name for call, *_ in CALLS for name in call.__code__.co_names}
    assert methods - {"close"} <= called


def test_restarting_only_the_connector_asks_for_the_status() -> None:
    with serving(Script([Answer(204), Answer(200, STATUS)])) as script, Connect(script.url) as client:
        assert client.restart(N, include_tasks=False, only_failed=False) == STATUS_
    assert script.requests == [f"POST {PATH}/restart?includeTasks=false&onlyFailed=false", f"GET {PATH}/status"]


def test_what_a_status_says() -> None:
    assert not STATUS_.running
    assert not STATUS_.stopped
    assert STATUS_.failure == ("task 0", "x.Y: z")
    assert STATUS_.label == "a b/c RUNNING, task 0 FAILED"
    assert types.Status("a", types.ConnectorState("FAILED", "w", "t"), (TASK,)).failure == ("connector", "t")
    assert not types.Status("a", STATE, ()).running
    assert types.Status("a", STATE, (types.TaskStatus(0, "RUNNING", "w"),)).running
    assert types.Status("a", types.ConnectorState("STOPPED", "w"), ()).stopped
    assert types.Status("a", types.ConnectorState("STOPPED", "w"), ()).label == "a STOPPED, no tasks"


def test_health_that_is_neither() -> None:
    for answer, kind in [(error(401, "who?"), ConnectDenied), (Answer(502, b"<html>"), ConnectAway)]:
        with serving(Script([answer])) as script, Connect(script.url) as client, pytest.raises(kind):
            client.health()
