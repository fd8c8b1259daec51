"""Every call of Kafka Connect's REST interface, one method each. What waits or combines calls is in `connect`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self, TypeVar
from urllib.parse import quote

from connectors import connect_types as types
from connectors.connect_errors import ConnectAway, ConnectorExists, ConnectorMissing, InvalidConnector, starting
from connectors.connect_http import Again, Http
from wakestream.errors import RefusedError, TransientError

T = TypeVar("T")
Settings = Mapping[str, str | None]

CLASS = "connector.class"


class Rest:
    """The calls. Whatever is safe to repeat is repeated on 409, 5xx and connection errors for `retry_s` seconds.

    What is not, or would start a rebalance for nothing, is looked at first when it is uncertain whether it was
    carried out.
    """

    def __init__(self, url: str, *, timeout_s: float, retry_s: float) -> None:
        self._http = Http(url, timeout_s=timeout_s, retry_s=retry_s)

    @property
    def url(self) -> str:
        """The worker's URL, without credentials."""
        return self._http.shown_url

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # The worker

    def worker(self) -> types.Worker:
        """GET /: version and Kafka cluster."""
        return self._http.call("GET", "/", types.Worker)

    def health(self) -> types.Health:
        """GET /health, once: `starting` and `unhealthy` are answers; only no answer at all is ConnectAway."""
        response = self._http.send("GET", "/health")
        if starting(response):
            return types.Health("starting", "The worker's listener is up, the worker is not yet.")
        if response.status_code in (200, 500, 503):
            return self._http.decode(response, types.Health, "GET /health")
        raise self._http.error(response, "GET /health")

    def loggers(self) -> dict[str, types.Logger]:
        """GET /admin/loggers: those with a level of their own."""
        return self._http.call("GET", "/admin/loggers", dict[str, types.Logger])

    def logger(self, logger: str) -> types.Logger:
        """GET /admin/loggers/{logger}."""
        return self._http.call("GET", f"/admin/loggers/{_quoted(logger)}", types.Logger)

    def set_logger(self, logger: str, level: str, *, scope: types.Scope = "worker") -> tuple[str, ...]:
        """PUT /admin/loggers/{logger}: the loggers that changed; empty for the scope `cluster`, which does not tell."""
        path, body = f"/admin/loggers/{_quoted(logger)}", {"level": level}
        if scope == "cluster":
            self._http.call("PUT", path, type(None), body=body, query={"scope": scope})
            return ()
        return self._http.call("PUT", path, tuple[str, ...], body=body, query={"scope": scope})

    # Plugins

    def plugins(self, *, connectors_only: bool = True) -> tuple[types.Plugin, ...]:
        """GET /connector-plugins; with converters, transformations and predicates unless `connectors_only`."""
        query = {"connectorsOnly": _flag(connectors_only)}
        return self._http.call("GET", "/connector-plugins", tuple[types.Plugin, ...], query=query)

    def plugin_config(self, plugin: str) -> tuple[types.ConfigKey, ...]:
        """GET /connector-plugins/{plugin}/config: the settings that it knows."""
        return self._http.call("GET", f"/connector-plugins/{_quoted(plugin)}/config", tuple[types.ConfigKey, ...])

    def validate(self, name: str, config: Settings) -> types.Validation:
        """PUT /connector-plugins/{class}/config/validate: changes nothing, but may open a database connection."""
        body = _complete(name, config)
        path = f"/connector-plugins/{_quoted(body[CLASS] or '')}/config/validate"
        return self._http.call("PUT", path, types.Validation, body=body, name=name)

    # Connectors

    def connectors(self) -> tuple[str, ...]:
        """GET /connectors: their names."""
        return self._http.call("GET", "/connectors", tuple[str, ...])

    def overview(self) -> dict[str, types.Listed]:
        """GET /connectors with status and configuration of each; one without a status yet is not in it."""
        return self._http.call("GET", "/connectors", dict[str, types.Listed], query={"expand": ("status", "info")})

    def connector(self, name: str) -> types.ConnectorInfo:
        """GET /connectors/{name}."""
        return self._http.call("GET", _path(name), types.ConnectorInfo, name=name)

    def config(self, name: str) -> types.Config:
        """GET /connectors/{name}/config, placeholders unresolved."""
        return self._http.call("GET", _path(name, "config"), types.Config, name=name)

    def create(
        self, name: str, config: Settings, *, initial_state: types.InitialState = "RUNNING"
    ) -> types.ConnectorInfo:
        """POST /connectors. ConnectorExists if there is one of this name already, whatever its configuration."""
        body = {"name": name, "config": _complete(name, config), "initial_state": initial_state}

        def send() -> types.ConnectorInfo:
            return self._http.call("POST", "/connectors", types.ConnectorInfo, body=body, name=name, again="never")

        return self._explained(name, lambda: config, lambda: self._settled(send, lambda: self._as_wanted(name, config)))

    def put_config(self, name: str, config: Settings) -> types.ConnectorInfo:
        """PUT /connectors/{name}/config: create it, or replace its whole configuration. A difference restarts tasks."""
        body, path = _complete(name, config), _path(name, "config")

        def send() -> types.ConnectorInfo:
            return self._http.call("PUT", path, types.ConnectorInfo, body=body, name=name, again="never")

        return self._explained(name, lambda: config, lambda: self._settled(send, lambda: self._as_wanted(name, config)))

    def patch_config(self, name: str, changes: Settings) -> types.ConnectorInfo:
        """PATCH /connectors/{name}/config: set these settings; null removes one."""

        def send() -> types.ConnectorInfo:
            return self._http.call("PATCH", _path(name, "config"), types.ConnectorInfo, body=dict(changes), name=name)

        return self._explained(name, lambda: _patched(self.config(name), changes), send)

    def delete(self, name: str) -> None:
        """DELETE /connectors/{name}. Offsets, topics, slot and publication stay; see `delete_with_offsets`."""

        def send() -> Literal[True]:
            self._http.call("DELETE", _path(name), type(None), name=name, again="never")
            return True

        self._settled(send, lambda: True if self._found(name) is None else None)

    def status_now(self, name: str, *, again: Again = "always", timeout_s: float | None = None) -> types.Status:
        """GET /connectors/{name}/status as it is. Just after its creation a connector has none and seems missing."""
        return self._http.call("GET", _path(name, "status"), types.Status, name=name, again=again, timeout_s=timeout_s)

    def topics(self, name: str) -> tuple[str, ...]:
        """GET /connectors/{name}/topics: those it has written to; empty for an unknown connector, as Connect has it."""
        answer = self._http.call("GET", _path(name, "topics"), dict[str, types.Topics], name=name)
        return answer[name].topics if name in answer else ()

    def reset_topics(self, name: str) -> None:
        """PUT /connectors/{name}/topics/reset: forget the topics written to so far."""
        self._http.call("PUT", _path(name, "topics/reset"), type(None), name=name)

    # Tasks

    def tasks(self, name: str) -> tuple[types.TaskInfo, ...]:
        """GET /connectors/{name}/tasks: their configurations."""
        return self._http.call("GET", _path(name, "tasks"), tuple[types.TaskInfo, ...], name=name)

    def task_status(self, name: str, task: int) -> types.TaskStatus:
        """GET /connectors/{name}/tasks/{task}/status."""
        return self._http.call("GET", _path(name, f"tasks/{task}/status"), types.TaskStatus, name=name)

    def restart_task(self, name: str, task: int) -> None:
        """POST /connectors/{name}/tasks/{task}/restart."""
        self._http.call("POST", _path(name, f"tasks/{task}/restart"), type(None), name=name, again="unsent")

    # State

    def restart(self, name: str, *, include_tasks: bool = True, only_failed: bool = True) -> types.Status:
        """POST /connectors/{name}/restart: what it will restart shows as RESTARTING in the status it returns.

        When it is uncertain whether an `only_failed` restart was carried out, it is done once nothing is FAILED.
        """
        query = {"includeTasks": _flag(include_tasks), "onlyFailed": _flag(only_failed)}
        path = _path(name, "restart")
        if not include_tasks and not only_failed:  # The one form that Connect answers with 204.
            self._http.call("POST", path, type(None), query=query, name=name, again="unsent")
            return self.status_now(name)
        if not only_failed:
            return self._http.call("POST", path, types.Status, query=query, name=name, again="unsent")

        def send() -> types.Status:
            return self._http.call("POST", path, types.Status, query=query, name=name, again="never")

        def nothing_failed() -> types.Status | None:
            status = self.status_now(name, again="never")
            return None if status.failure else status

        return self._settled(send, nothing_failed)

    def pause(self, name: str) -> None:
        """PUT /connectors/{name}/pause: done later. The task keeps its slot and sessions; only `stop` frees them."""
        self._http.call("PUT", _path(name, "pause"), type(None), name=name)

    def resume(self, name: str) -> None:
        """PUT /connectors/{name}/resume: out of PAUSED or STOPPED, done later."""
        self._http.call("PUT", _path(name, "resume"), type(None), name=name)

    def stop(self, name: str) -> None:
        """PUT /connectors/{name}/stop: done later, see `stop_and_wait`."""
        self._http.call("PUT", _path(name, "stop"), type(None), name=name)

    # Offsets

    def offsets(self, name: str) -> tuple[types.Offset, ...]:
        """GET /connectors/{name}/offsets."""
        return self._http.call("GET", _path(name, "offsets"), types.Offsets, name=name).offsets

    def patch_offsets(self, name: str, offsets: Sequence[types.Offset]) -> str:
        """PATCH /connectors/{name}/offsets while it is stopped: Connect's message. The slot does not move."""
        body = types.Offsets(tuple(offsets))
        return self._http.call("PATCH", _path(name, "offsets"), types.Message, body=body, name=name).message

    def delete_offsets(self, name: str) -> str:
        """DELETE /connectors/{name}/offsets while it is stopped: Connect's message. The slot stays."""
        return self._http.call("DELETE", _path(name, "offsets"), types.Message, name=name).message

    # What the calls above share

    def _settled(self, send: Callable[[], T], look: Callable[[], T | None]) -> T:
        """Send until answered. After a request that may have been carried out, `look` decides whether it was."""
        uncertain = False

        def once() -> T:
            nonlocal uncertain
            try:
                return send()
            except (ConnectAway, ConnectorExists, ConnectorMissing) as exc:
                uncertain = uncertain or (isinstance(exc, ConnectAway) and exc.uncertain)
                done = self._look(look) if uncertain else None
                if done is None:
                    raise
                return done

        return self._http.repeat(once)

    def _look(self, look: Callable[[], T | None]) -> T | None:
        try:
            return look()
        except (ConnectAway, ConnectorMissing):
            return None

    def _explained(self, name: str, config: Callable[[], Settings], change: Callable[[], T]) -> T:
        """Change a configuration; when Connect refuses it without naming the settings, ask for them by validation."""
        try:
            return change()
        except InvalidConnector as refused:
            if "" not in refused.fields:
                raise
            try:
                fields = self.validate(name, config()).errors
            except (RefusedError, TransientError):
                raise refused from None
            raise (InvalidConnector(name, fields) if fields else refused) from None

    def _as_wanted(self, name: str, config: Settings) -> types.ConnectorInfo | None:
        found = self._found(name)
        return found if found is not None and found.config == _complete(name, config) else None

    def _found(self, name: str) -> types.ConnectorInfo | None:
        try:
            return self._http.call("GET", _path(name), types.ConnectorInfo, name=name, again="never")
        except ConnectorMissing:
            return None


def _complete(name: str, config: Settings) -> types.Config:
    """With its name, as Connect stores it. Without a class Connect would answer by printing every value."""
    if not config.get(CLASS):
        raise InvalidConnector(name, {CLASS: ("is missing; give the class of the connector",)})
    return {**config, "name": name}


def _patched(config: Settings, changes: Settings) -> types.Config:
    return {key: value for key, value in {**config, **changes}.items() if value is not None}


def _path(name: str, rest: str = "") -> str:
    return f"/connectors/{_quoted(name)}" + (f"/{rest}" if rest else "")


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _flag(value: bool) -> str:
    return str(value).lower()
