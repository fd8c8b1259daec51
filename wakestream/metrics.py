"""What our processes measure, served to Prometheus where the file says so.

One registry for a process; each package defines its part of it in a module `measures`, and docs/reference/metrics.md
describes them all. Labels are names of the configuration and words of ours: never a value of a row, never a secret.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from wakestream.errors import ConfigurationError

logger = logging.getLogger(__name__)

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

STOP_TIMEOUT = 5.0  # seconds for an answer that is under way


@contextmanager
def served(listen: str | None) -> Generator[tuple[str, int] | None]:
    """Answer at `host:port` inside the `with` block; gives where. Without an address nothing is opened.

    Raises `ConfigurationError` when nobody can listen there.
    """
    if listen is None:
        yield None
        return
    host, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), REGISTRY)
    except OSError as error:
        raise ConfigurationError(
            f"metrics: cannot listen on {listen}: {error.strerror or error}; choose another address in `metrics`"
        ) from error
    at = (str(server.server_address[0]), int(server.server_address[1]))
    logger.info("Metrics are at http://%s:%s/metrics", *at, extra={"action": "metrics_served"})
    try:
        yield at
    finally:
        server.shutdown()
        server.server_close()
        thread.join(STOP_TIMEOUT)
