"""What the measurements stand on: the real stack, one attached source, two ledgers, and the product's processes."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import configuration, ledgers, programs, readers, traffic
from benchmarks.counts import Counts
from benchmarks.ledgers import Looks
from benchmarks.meter import Meter
from benchmarks.programs import Program
from benchmarks.waiting import until
from localstack import Stack
from wakestream import topics

Say = Callable[[str], None]


@dataclass(frozen=True)
class Setup:
    """One `wake.yaml` with the ledger it names."""

    name: str
    config: Path
    ledger_url: str
    environment: dict[str, str]


@dataclass
class Rig:
    """The stack with a source on it. Every mark is given out once, so that no measurement sees another's rows."""

    env: dict[str, str]
    source: str
    source_url: str
    directory: Path
    counts: Counts
    say: Say
    meter: Meter
    ledger_urls: dict[str, str]
    model: Program
    model_url: str
    _next_mark: int = field(default=1)

    @property
    def bootstrap(self) -> str:
        """Kafka's address."""
        return self.env["KAFKA_BOOTSTRAP"]

    @property
    def changes(self) -> str:
        """The change log."""
        return topics.changes(self.source)

    @property
    def context(self) -> str:
        """The topic of context events."""
        return topics.context(self.source)

    def marks(self, count: int) -> range:
        """Marks that nobody has had."""
        start = self._next_mark
        self._next_mark += count
        return range(start, start + count)

    def unmirrored(self) -> Setup:
        """The source with `mirror: false`, in a ledger of its own."""
        return self._setup("unmirrored", "rows", configuration.attached(self.source, mirror=False))

    def waking(self) -> Setup:
        """The source mirrored, and one trigger that leads to the scripted model."""
        return self._setup("waking", "mirrored", configuration.watched(self.source, configuration.waking()))

    def with_entity(self) -> Setup:
        """The same source and ledger with an entity, and nothing that watches it."""
        return self._setup("entity", "mirrored", configuration.with_entity(self.source))

    def many(self) -> Setup:
        """The same source and ledger with many triggers."""
        return self._setup("many", "mirrored", configuration.watched(self.source, configuration.many(self.counts)))

    def apply(self, setup: Setup) -> None:
        """`wake apply`."""
        self.say(f"wake apply ({setup.name})")
        log = self.directory / "apply.log"
        programs.run_wake(["-c", str(setup.config), "apply", "--yes"], log, setup.environment)

    @contextmanager
    def attached(self, setup: Setup) -> Generator[None]:
        """`wake apply` now, `wake detach` in the end."""
        log = self.directory / "detach.log"
        try:
            self.apply(setup)
            yield
        finally:
            arguments = ["-c", str(setup.config), "detach", self.source, "--topics", "--yes"]
            programs.run_wake(arguments, log, setup.environment)

    @contextmanager
    def consumer(self, setup: Setup, name: str = "consumer") -> Generator[Program]:
        """`wake consume` while this lasts."""
        with self._program(name, "consume", setup) as program:
            yield program

    @contextmanager
    def agent(self, setup: Setup, name: str = "agent") -> Generator[Program]:
        """`wake agent` while this lasts, once it reads."""
        with self.looks(setup) as ledger:
            before = ledger.agent_epoch(self.context)
            with self._program(name, "agent", setup) as program:

                def owns() -> bool:
                    program.require_alive()
                    return ledger.agent_epoch(self.context) > before

                until(owns, "the agent at its partitions")
                yield program

    @contextmanager
    def looks(self, setup: Setup) -> Generator[Looks]:
        """A look into a set-up's ledger."""
        with ledgers.looks(setup.ledger_url, self.source) as found:
            yield found

    def wait_applied(self, setup: Setup) -> None:
        """Until the consumer has applied everything committed so far, and its mirror is complete."""
        with traffic.connect(self.source_url) as source, self.looks(setup) as ledger:
            row = source.execute("select (pg_current_wal_lsn() - '0/0')::bigint").fetchone()
            lsn = int(row[0]) if row else 0
            until(lambda: ledger.has_applied(lsn), "the context store at the end of the change log")

    def wait_read(self, setup: Setup) -> None:
        """Until the agent has read all context events that there are now."""
        target = sum(readers.end_offsets(self.bootstrap, self.context).values())
        with self.looks(setup) as ledger:
            until(lambda: ledger.agent_position(self.context) >= target, "the agent at the end of the context topic")

    def _setup(self, name: str, ledger: str, content: dict[str, object]) -> Setup:
        url = self.ledger_urls[ledger]
        own = {"LEDGER_URL": url, "SOURCE_URL": self.source_url, "SCRIPTED_URL": self.model_url}
        path = configuration.write(self.directory / name, content)
        return Setup(name, path, url, {**self.env, **own})

    @contextmanager
    def _program(self, name: str, command: str, setup: Setup) -> Generator[Program]:
        log = self.directory / f"{name}.log"
        with Program([*programs.WAKE, "-c", str(setup.config), command], log, setup.environment) as program:
            self.meter.watch(name, program.pid)
            yield program
            program.require_alive()
            self.meter.unwatch(name)


@contextmanager
def open_rig(home: Path, counts: Counts, say: Say) -> Generator[Rig]:
    """A rig on the stack in this state directory; a stack that was down is down again afterwards."""
    with _stack(home, say) as stack, ExitStack() as undo:
        env = stack.env()
        source = f"bench{secrets.token_hex(2)}"
        directory = stack.home.path / source
        directory.mkdir(parents=True)
        source_url = undo.enter_context(ledgers.database(env["POSTGRES_URL"], source))
        with traffic.connect(source_url) as connection:
            connection.execute(traffic.SCHEMA)
        ledger_urls = {
            name: undo.enter_context(ledgers.ledger(stack, f"{source}_{name}")) for name in ("rows", "mirrored")
        }
        meter = undo.enter_context(Meter())
        for part in stack.status():
            if part.pid is not None:
                meter.watch(part.part, part.pid)
        model = undo.enter_context(Program(programs.SCRIPTED_MODEL, directory / "model.log", {}))
        url = programs.scripted_url(model)
        yield Rig(env, source, source_url, directory, counts, say, meter, ledger_urls, model, url)
        shutil.rmtree(directory)  # after a failure its logs stay


@contextmanager
def _stack(home: Path, say: Say) -> Generator[Stack]:
    stack = Stack(home)
    is_new = not stack.home.exists()
    was_up = not is_new and all(part.state == "running" for part in stack.status())
    stack.up(say)
    try:
        yield stack
    except BaseException:
        if not was_up:
            stack.down(report=say)  # its logs stay for who looks for the reason
        raise
    if not was_up:
        stack.down(wipe=is_new, report=say)
