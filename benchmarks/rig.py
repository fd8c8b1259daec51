"""What the measurements stand on: the real stack, sources on it, ledgers, and the product's processes."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import configuration, groups, ledgers, programs, readers, sources, traffic
from benchmarks.counts import Counts
from benchmarks.ledgers import Looks
from benchmarks.meter import Meter
from benchmarks.processes import Processes
from benchmarks.programs import Program
from benchmarks.sources import Source
from benchmarks.waiting import until
from localstack import Stack
from wakestream.config.models import Kafka
from wakestream.ledger import settings

Say = Callable[[str], None]


@dataclass(frozen=True)
class Setup:
    """One `wake.yaml` with the sources and the ledger it names."""

    name: str
    config: Path
    sources: tuple[Source, ...]
    ledger_url: str
    environment: dict[str, str]

    def at(self, ledger_url: str) -> Setup:
        """The same with another ledger."""
        return replace(self, ledger_url=ledger_url, environment={**self.environment, "LEDGER_URL": ledger_url})


@dataclass
class Rig:
    """The stack with a source on it. Every mark is given out once, so that no measurement sees another's rows."""

    stack: Stack
    env: dict[str, str]
    source: Source
    """The one that most measurements are about."""
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

    def marks(self, count: int) -> range:
        """Marks that nobody has had."""
        start = self._next_mark
        self._next_mark += count
        return range(start, start + count)

    def unmirrored(self) -> Setup:
        """The source with `mirror: false`, in a ledger of its own."""
        return self._setup("unmirrored", "rows", configuration.attached([self.source.name], mirror=False))

    def waking(self) -> Setup:
        """The source mirrored, and one trigger that leads to the scripted model."""
        return self._setup("waking", "mirrored", configuration.watched(self.source.name, configuration.waking()))

    def with_entity(self) -> Setup:
        """The same source and ledger with an entity, and nothing that watches it."""
        return self._setup("entity", "mirrored", configuration.with_entity(self.source.name))

    def many(self) -> Setup:
        """The same source and ledger with many triggers."""
        conditions = configuration.many(self.counts)
        return self._setup("many", "mirrored", configuration.watched(self.source.name, conditions))

    @contextmanager
    def several(self, count: int) -> Generator[Setup]:
        """So many other sources, mirrored, and a ledger for them; all gone in the end."""
        with ExitStack() as undo:
            names = [f"{self.source.name}_{number}" for number in range(1, count + 1)]
            made = tuple(undo.enter_context(sources.source(self.env["POSTGRES_URL"], name)) for name in names)
            url = undo.enter_context(ledgers.ledger(self.stack, f"{self.source.name}_several"))
            yield self._made("several", made, url, configuration.attached(names, mirror=True))

    @contextmanager
    def copied(self, setup: Setup) -> Generator[Setup]:
        """The set-up with a copy of its ledger, in which nobody is at work now."""
        template = urlsplit(setup.ledger_url).path.removeprefix("/")
        with ledgers.ledger(self.stack, f"{template}_copy", template) as url:
            yield setup.at(url)

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
            for source in setup.sources:
                arguments = ["-c", str(setup.config), "detach", source.name, "--topics", "--yes"]
                programs.run_wake(arguments, log, setup.environment)

    @contextmanager
    def consumer(
        self, setup: Setup, name: str = "consumer", only: Sequence[Source] | None = None
    ) -> Generator[Processes]:
        """`wake consume` while this lasts, of all sources or only these."""
        with self._program(name, setup, "consume", *_named(only or ())) as program:
            yield Processes(self.meter, {name: program})

    @contextmanager
    def consumers(self, setup: Setup, count: int) -> Generator[Processes]:
        """So many `wake consume --share` while this lasts, which begin together."""
        with self._sharing(setup, "consume", count, [source.changes for source in setup.sources]) as processes:
            yield processes

    @contextmanager
    def agent(self, setup: Setup, name: str = "agent") -> Generator[Processes]:
        """`wake agent` while this lasts, once it reads."""
        with self.looks(setup) as ledger:
            before = ledger.agent_epoch(self.source.context)
            with self._program(name, setup, "agent") as program:

                def owns() -> bool:
                    program.require_alive()
                    return ledger.agent_epoch(self.source.context) > before

                until(owns, "the agent at its partitions")
                yield Processes(self.meter, {name: program})

    @contextmanager
    def agents(self, setup: Setup, count: int) -> Generator[Processes]:
        """So many `wake agent --share` while this lasts, which begin together."""
        with self._sharing(setup, "agent", count, [source.context for source in setup.sources]) as processes:
            yield processes

    @contextmanager
    def looks(self, setup: Setup) -> Generator[Looks]:
        """A look into a set-up's ledger."""
        with ledgers.looks(setup.ledger_url) as found:
            yield found

    def wait_applied(self, setup: Setup) -> None:
        """Until the consumer has applied everything committed so far, and its mirrors are complete."""
        with self.looks(setup) as ledger:
            for source in setup.sources:
                _wait_applied(source, ledger)

    def wait_read(self, setup: Setup) -> None:
        """Until the agent has read all context events that there are now."""
        topic = self.source.context
        target = sum(readers.end_offsets(self.bootstrap, topic).values())
        with self.looks(setup) as ledger:
            until(lambda: ledger.agent_position(topic) >= target, "the agent at the end of the context topic")

    def idle_pool(self, setup: Setup, count: int) -> range:
        """Rows to be updated, of which an agent has read already; a consumer is at work."""
        pool = self.marks(count)
        traffic.fill(self.source.url, pool)
        self.wait_applied(setup)
        with self.agent(setup):
            self.wait_read(setup)
        return pool

    def _setup(self, name: str, ledger: str, content: dict[str, object]) -> Setup:
        return self._made(name, (self.source,), self.ledger_urls[ledger], content)

    def _made(self, name: str, of: tuple[Source, ...], ledger_url: str, content: dict[str, object]) -> Setup:
        urls = {configuration.url_variable(source.name): source.url for source in of}
        path = configuration.write(self.directory / name, content)
        return Setup(name, path, of, ledger_url, {**self.env, **urls, "SCRIPTED_URL": self.model_url}).at(ledger_url)

    @contextmanager
    def _sharing(self, setup: Setup, command: str, count: int, topics: Sequence[str]) -> Generator[Processes]:
        group = settings.group(setup.ledger_url, command)
        with groups.held(Kafka(bootstrap_servers=self.bootstrap), group, topics) as held, ExitStack() as running:
            names = [f"{command}-{number}" for number in range(1, count + 1)]
            started = {name: running.enter_context(self._program(name, setup, command, "--share")) for name in names}
            processes = Processes(self.meter, started)
            held.release_to(count, processes.require_alive)
            yield processes

    @contextmanager
    def _program(self, name: str, setup: Setup, *command: str) -> Generator[Program]:
        log = self.directory / f"{name}.log"
        with Program([*programs.WAKE, "-c", str(setup.config), *command], log, setup.environment) as program:
            self.meter.watch(name, program.pid)
            yield program
            program.require_alive()
            self.meter.unwatch(name)


def _named(only: Sequence[Source]) -> list[str]:
    """The options that name these sources."""
    return [argument for source in only for argument in ("--source", source.name)]


def _wait_applied(source: Source, ledger: Looks) -> None:
    with traffic.connect(source.url) as connection:
        row = connection.execute("select (pg_current_wal_lsn() - '0/0')::bigint").fetchone()
        lsn = int(row[0]) if row else 0
        until(lambda: ledger.has_applied(source.name, lsn), f"the context store of {source.name} up to now")


@contextmanager
def open_rig(home: Path, counts: Counts, say: Say) -> Generator[Rig]:
    """A rig on the stack in this state directory; a stack that was down is down again afterwards."""
    with _stack(home, say) as stack, ExitStack() as undo:
        env = stack.env()
        name = f"bench{secrets.token_hex(2)}"
        directory = stack.home.path / name
        directory.mkdir(parents=True)
        source = undo.enter_context(sources.source(env["POSTGRES_URL"], name))
        ledger_urls = {
            kind: undo.enter_context(ledgers.ledger(stack, f"{name}_{kind}")) for kind in ("rows", "mirrored")
        }
        meter = undo.enter_context(Meter())
        for part in stack.status():
            if part.pid is not None:
                meter.watch(part.part, part.pid)
        model = undo.enter_context(Program(programs.SCRIPTED_MODEL, directory / "model.log", {}))
        url = programs.scripted_url(model)
        yield Rig(stack, env, source, directory, counts, say, meter, ledger_urls, model, url)
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
