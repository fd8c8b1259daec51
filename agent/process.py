"""The agent process: its cycle, and the threads that keep to it.

1. Intake reads context events by the reader's rule (`intake`, `dispatch`).
2. It evaluates the triggers that they may concern (`triggers`).
3. In one ledger transaction, guarded by the partition's epoch and position: activations, a run for each open one,
   suppressions, dead letters, counts, positions (`activations`, `positions`).
4. Workers claim runs and actions under a lease that a heartbeat extends (`worker`, `leases`, `steward`, `bell`).
5. A run asks its lookups and the model; every answer is stored before the next step (`runs`).
6. Its actions are written as proposed and ruled upon (`proposals`, `policy`), executed under a lease with the action's
   id as the key (`actions`, `effects`), and confirmed by their receipt (`steward`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from psycopg import Notify

from agent import effects, holding, leases
from agent.action_store import has_receipt
from agent.actions import Actions
from agent.bell import Bell, listen
from agent.checking import Checks
from agent.database import Ledger
from agent.effects.outcome import Setting
from agent.holding import Follower
from agent.intake import Intake
from agent.leases import Holdings
from agent.lookups import Lookups
from agent.model_client import ModelClient
from agent.positions import Start
from agent.run_claim import Turn
from agent.runs import Runs
from agent.sharing import Shares
from agent.steward import Steward
from agent.worker import Worker
from wakestream import allocator, config, ledger, metrics, topics
from wakestream.config import Loaded, handing
from wakestream.errors import FatalError, WakeError
from wakestream.ledger import settings
from wakestream.membership import Membership
from wakestream.program import Program

logger = logging.getLogger(__name__)

GRACE = 10.0  # seconds that running work has to end by itself


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    workers: int = 4
    """How many runs and actions are worked on at once."""
    start: Start = "end"
    """Where a context topic is read from that no agent of this ledger has read before."""
    model_url: str | None = None
    """Where a model with `provider: local` is served."""
    share: bool = False
    """Whether a group says which partitions of the context topics are read here."""


def run(loaded: Loaded, stop: threading.Event, options: Options | None = None) -> None:
    """Run the agent until `stop` is set; what is unfinished then is handed back.

    Raises `ConfigurationError` before anything is started, `FatalError` when going on would be wrong.
    """
    url = config.reveal(loaded.config.ledger.url)
    ledger.require_current(url)
    allocator.use_one_arena()
    program, revisions, key = _prepare(loaded, url)
    with metrics.served(loaded.config.metrics.agent):
        _Process(loaded, program, revisions, key, options or Options(), stop).run()


def _prepare(loaded: Loaded, url: str) -> tuple[Program, dict[str, int], bytes]:
    with (
        contextlib.closing(Ledger(url, "agent")) as own,
        own.transaction("reading the revisions") as connection,
    ):
        program, revisions = holding.first(connection, loaded)
        try:
            key = settings.key(connection, settings.MARK_KEY)
        except LookupError as error:
            raise FatalError(str(error)) from error
    return program, revisions, key


class _Part(NamedTuple):
    """What one thread does, and what it closes when it ends."""

    name: str
    work: Callable[[], None]
    close: Callable[[], None] = lambda: None


@dataclass(slots=True)
class _Process:
    loaded: Loaded
    program: Program
    revisions: dict[str, int]
    """Those under which it was compiled, by source."""
    key: bytes
    options: Options
    stop: threading.Event
    holdings: Holdings = field(default_factory=Holdings)
    bell: Bell = field(default_factory=Bell)
    turn: Turn = field(init=False)
    rings: Ledger | None = None
    """The session of the intake, which rings for what it has written."""
    looking: list[Ledger] = field(default_factory=list[Ledger])
    """The sessions of the workers."""
    failures: list[BaseException] = field(default_factory=list[BaseException])

    def __post_init__(self) -> None:
        self.turn = Turn(self.bell)

    def run(self) -> None:
        models = self._models()
        threads = [self._thread(part) for part in self._parts(models)]
        for thread in threads:
            thread.start()
        logger.info("The agent works", extra={"action": "agent_started", "owner": self.holdings.name})
        self.stop.wait()
        for _ in threads:
            self.bell.ring()
        deadline = time.monotonic() + GRACE
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._hand_back()
        for model in models.values():
            model.close()
        if self.failures:
            raise self.failures[0]

    def _parts(self, models: Mapping[str, ModelClient]) -> list[_Part]:
        own = self.rings = self._ledger("intake")
        shares = Shares() if self.options.share else None
        intake = Intake(
            self.program,
            own,
            name=self.holdings.name,
            start=self.options.start,
            wake=lambda runs: self.bell.ring(many=runs, news=True),
            shares=shares,
        )
        ledger = self._ledger("steward")
        steward = Steward(self.program, ledger, self.holdings)
        watching = self._ledger("revisions")
        checks = self._checks()
        workers = [self._worker(f"worker {number}", models) for number in range(1, self.options.workers + 1)]

        def take_up(program: Program) -> None:
            for part in (intake, steward, checks, *(worker for worker, _ in workers)):
                part.take_up(program)

        follower = Follower(self.loaded, watching, self.program, self.revisions, take_up)
        return [
            _Part("intake", lambda: intake.run(self.stop), own.close),
            _Part("steward", lambda: steward.run(self.stop), ledger.close),
            _Part("listener", lambda: listen(self._url, self.bell, self.stop, self._is_known)),
            _Part("checks", lambda: checks.run(self.stop), checks.close),
            _Part("revisions", lambda: follower.run(self.stop), watching.close),
            *([self._sharing(shares)] if shares is not None else []),
            *(part for _, part in workers),
        ]

    def _sharing(self, shares: Shares) -> _Part:
        configured = self.program.config
        listed = [topics.context(source) for source in configured.sources]
        group = settings.group(self._url, "agent")
        member = Membership(configured.kafka, group, listed, shares.follow)
        return _Part("sharing", lambda: member.run(self.stop))

    def _checks(self) -> Checks:
        own = self._ledger("checks")
        return Checks(self.program, own, self._lookups(own))

    def _lookups(self, own: Ledger) -> Lookups:
        configured = self.program.config
        url = configured.ledger.lookups
        return Lookups(config.reveal(url) if url else None, own, configured.mcp_servers)

    def _worker(self, name: str, models: Mapping[str, ModelClient]) -> tuple[Worker, _Part]:
        own = self._ledger(name)
        self.looking.append(own)
        lookups = self._lookups(own)
        runs = Runs(self.program, own, models, lookups, self.stop)

        def seen(action: str) -> bool:
            with own.transaction("looking for a receipt", durable=False) as connection:
                return has_receipt(connection, action)

        def close() -> None:
            own.close()
            runs.close()
            lookups.close()

        actions = Actions(own, effects.kinds(Setting(self.program.config, self.key, seen)), self.stop)
        worker = Worker(self.program, own, self.holdings, self.bell, runs, actions, self.turn)
        return worker, _Part(name, lambda: worker.run(self.stop), close)

    def _models(self) -> dict[str, ModelClient]:
        configured = self.program.config.models
        used = handing.models_used(self.program.config)  # of triggers that are held, too
        return {name: ModelClient(name, configured[name], local_url=self.options.model_url) for name in used}

    def _thread(self, part: _Part) -> threading.Thread:
        def guarded() -> None:
            try:
                part.work()
            except BaseException as error:  # whatever ends one thread ends the process, which says why
                self.failures.append(error)
                self.stop.set()
            finally:
                part.close()

        return threading.Thread(target=guarded, name=f"agent {part.name}", daemon=True)

    def _hand_back(self) -> None:
        held = self.holdings.held()
        if not held:
            return
        try:
            with (
                contextlib.closing(self._ledger("end")) as own,
                own.transaction("handing work back") as connection,
            ):
                count = leases.release(connection, held)
            logger.info("Handed back %s unfinished", count, extra={"action": "handed_back"})
        except WakeError as error:
            logger.warning(
                "Work is not handed back, its leases run out: %s", error, extra={"action": "not_handed_back"}
            )

    def _ledger(self, part: str) -> Ledger:
        return Ledger(self._url, f"agent {part}")

    def _is_known(self, told: Notify) -> bool:
        """Intake rings by itself; and a worker that has written an action claims next."""
        if self.rings is not None and self.rings.backend == told.pid:
            return True
        return told.channel == "wake_action" and any(each.backend == told.pid for each in self.looking)

    @property
    def _url(self) -> str:
        return config.reveal(self.loaded.config.ledger.url)
