"""The shape of `wake.yaml`: frozen, typed, and safe to print."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from wakestream.config.actions import Action
from wakestream.config.budgets import Budget, Rate
from wakestream.config.lookups import Lookup
from wakestream.config.masking import Mask
from wakestream.config.policy import Mode
from wakestream.config.sections import Duration, Name, Section, Size
from wakestream.config.servers import McpServer
from wakestream.config.timing import Breaker, Timing

Fire = Literal["enter", "leave", "change"]


class Topics(Section):
    """What `apply` asks of the broker for the topics it creates."""

    changes_retention: Duration = 7 * 86400.0
    context_retention: Duration = 14 * 86400.0
    context_partitions: int = Field(default=6, ge=1, le=1000)
    replication: int = Field(default=-1, ge=-1)
    """-1 is the broker's own default."""
    max_message_bytes: int = Field(default=16 * 1024 * 1024, ge=1024 * 1024)


class Kafka(Section):
    """The broker that carries change logs and context events."""

    bootstrap_servers: str
    topics: Topics = Topics()
    settings: dict[str, SecretStr] = {}
    """Further librdkafka settings, such as `security.protocol` and `sasl.password`."""


class KafkaConnect(Section):
    """The Kafka Connect cluster that runs Debezium."""

    url: str
    secrets: str
    """The properties file with the passwords, as the Connect worker sees it."""


class Ledger(Section):
    """Our own PostgreSQL database, 18 or newer."""

    url: SecretStr
    lookups: SecretStr | None = None
    """A role that reads the context store and nothing else; needed by lookups."""


class CapturedTable(Section):
    """What of one table is captured, and how it may be shown."""

    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    """Columns that came after the table was attached, and may be shown; only where new ones are withheld."""
    mask: dict[str, Mask] = {}
    untrusted: tuple[str, ...] = ()
    mirror: bool = True
    replica_identity: Literal["full"] | None = None
    """Have old rows in the WAL whole; only `wake apply --allow replica-identity` changes the table."""


class SlotPolicy(Section):
    """What the guard does when the source's slot endangers its database."""

    policy: Literal["keep", "shed"] = "keep"
    """`shed` gives the slot up in time: changes are lost then, and a new snapshot has to be taken."""
    wal_limit: Annotated[Size, Field(ge=2**20)] | None = None
    """Bytes of WAL that the slot may retain, where the server's own limit is higher or none."""


class Source(Section):
    """One operational database."""

    capture: SecretStr
    adopt: str | None = Field(default=None, min_length=1)
    """A connector that somebody else runs, by its name in Kafka Connect: its topics are read, it is never changed."""
    admin: SecretStr | None = None
    guard: SlotPolicy = SlotPolicy()
    new_columns: Literal["withhold", "include"] | None = None
    """What becomes of columns that are added or renamed; by itself `withhold` where a table excludes or masks any."""
    tables: dict[str, CapturedTable] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _empty_admin_is_none(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in cast("dict[str, Any]", data).items() if (key, value) != ("admin", "")}
        return data


class Include(Section):
    """A member of an entity or of another member: one related row, or a list of them."""

    table: str | None = None
    via: str | None = None
    """The foreign key, by its constraint's name or a column, where there are several."""
    match: dict[str, str] = {}
    """Columns of the member that equal columns of the row above it, where no foreign key says so."""
    many: bool = False
    where: str | None = None
    """Of lists: SQL over the document's rows; alone it replaces the foreign key."""
    order: str | None = None
    limit: int | None = Field(default=None, ge=1, le=1000)
    fields: tuple[str, ...] | None = Field(default=None, min_length=1)
    """The columns that are shown, besides the key's; all by itself."""
    watch: bool | None = None
    """Whether a change of the member changes the document; by itself for single rows, not for lists."""
    fan_out: int = Field(default=10_000, ge=1)
    """How many documents one transaction may change through this member."""
    include: dict[Name, Include] = {}

    @model_validator(mode="after")
    def _many_has_its_clauses(self) -> Include:
        if self.many and self.limit is None:
            raise ValueError("a member with `many: true` needs a `limit`")
        if not self.many and (self.where or self.limit):
            raise ValueError("`where` and `limit` belong to members with `many: true`")
        if self.order and not self.many and not self.match:
            raise ValueError("`order` belongs to members with `many: true` or `match`: a foreign key finds one row")
        if self.via and self.match:
            raise ValueError("`via` follows a foreign key and `match` stands instead of one: give one of them")
        if self.watch and self.is_free:
            raise ValueError("only members found by equal columns can be watched; use `match`, or remove `watch`")
        return self

    @property
    def is_free(self) -> bool:
        """Whether it is found by `where` alone."""
        return self.many and self.where is not None and not self.match and self.via is None


class Entity(Section):
    """A root row with the rows related to it."""

    root: str
    fields: tuple[str, ...] | None = Field(default=None, min_length=1)
    """The root's columns that are shown, besides the key's; all by itself."""
    include: dict[Name, Include] = {}
    compute: dict[Name, str] = {}
    max_size: Annotated[Size, Field(ge=1024, le=8 * 2**20)] = 256 * 2**10
    """Bytes that a document may have; a larger one becomes a dead letter."""


class Trigger(Timing):
    """A condition that activates an agent."""

    entity: str | None = None
    table: str | None = None
    when: str
    fire: Fire
    agent: str
    own_writes: bool = False
    mode: Mode = "live"
    on_snapshot: Literal["never", "changed"] = "never"
    budget: tuple[Budget, ...] = ()
    """What its runs may spend."""

    @model_validator(mode="after")
    def _one_subject(self) -> Trigger:
        if (self.entity is None) == (self.table is None):
            raise ValueError("a trigger watches one thing: give `entity` or `table`")
        return self

    @model_validator(mode="after")
    def _hold_lasts(self) -> Trigger:
        if self.hold is not None and self.fire == "change":
            raise ValueError("`hold` waits for something to last, and a change does not: fire: enter, or fire: leave")
        return self


class Agent(Section):
    """Who decides: a model, its instructions, what it may ask and do."""

    model: str = "default"
    instructions: str
    lookups: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    document: bool = True
    """Show the event's document whole below the instructions; `false` where these tell the facts themselves."""
    mode: Mode = "live"
    untrusted: Literal["approve"] | None = None
    """`approve`: when a run has seen text that strangers wrote, each of its actions waits for a person."""
    attempts: int = Field(default=5, ge=1, le=100)
    """How often a run is tried before it is parked."""
    prompt_tokens: int | None = Field(default=None, ge=100)
    """What a prompt may have, estimated; what is beyond is cut in a known order, or the run fails."""
    ask: tuple[str, ...] = ()
    """Lookups that the model may ask before it decides."""
    steps: int | None = Field(default=None, ge=2, le=20)
    """How often the model is called for one decision, repairs not counted; in the last call it can only decide.

    4 by itself.
    """
    tools: Literal["native"] | None = None
    """`native`: lookups are offered as tools, for models that call them well."""

    @model_validator(mode="after")
    def _has_questions(self) -> Agent:
        for name in ("steps", "tools"):
            if getattr(self, name) is not None and not self.ask:
                raise ValueError(f"`{name}` is about the lookups that the model asks for: name them in `ask`")
        return self

    budget: tuple[Budget, ...] = ()
    """What its runs may spend, whatever woke them."""


class Price(Section):
    """What a model costs, in the bill's currency per million tokens."""

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)


class Model(Section):
    """Any server that speaks OpenAI's chat completions."""

    provider: Literal["local", "openai"] = "openai"
    base_url: str | None = None
    api_key: SecretStr | None = None
    name: str | None = None
    temperature: float = Field(default=0.0, ge=0, le=2)
    max_tokens: int = Field(default=400, ge=1)
    timeout: Duration = 120.0
    retries: int = Field(default=4, ge=0, le=20)
    """Further attempts within one run after 429, 5xx, a time-out or a refused connection."""
    price: Price = Price()
    fallback: str | None = None
    """Another model, asked when this one has failed after its retries."""
    concurrency: int | None = Field(default=None, ge=1)
    """How many calls may be under way at once, over all processes."""
    rate: Rate | None = None

    @model_validator(mode="after")
    def _reachable(self) -> Model:
        if self.provider == "openai" and (self.base_url is None or self.name is None):
            raise ValueError("give `base_url` and `name`, or `provider: local`")
        return self


class NoticeWebhook(Section):
    """Where notices are posted, signed after Standard Webhooks."""

    url: str
    secret: SecretStr | None = None


class Notify(Section):
    """Whom the guard tells when a level changes."""

    webhook: NoticeWebhook | None = None
    topic: str | None = None
    """A Kafka topic that exists."""


def parse_address(value: object) -> object:
    """`HOST:PORT`; an empty text, as a variable may leave it, is none."""
    if value == "":
        return None
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ValueError(f"`{value}` is not an address; write 127.0.0.1:9464")
    return value


Address = Annotated[str | None, BeforeValidator(parse_address)]
"""Where to listen; nowhere without one."""


class Metrics(Section):
    """Where each process answers Prometheus; one without an address answers nobody."""

    consume: Address = None
    agent: Address = None
    guard: Address = None


class Limits(Section):
    """Ceilings over all triggers."""

    depth: int = Field(default=3, ge=1, le=20)
    """How long a chain change → run → action → change may grow."""
    receipt_within: Duration = 10.0
    """How far a source's clock may pass the commit of an SQL action there before its mark must have been seen."""
    breaker: Breaker | Literal["off"] = Breaker(runs=5, within=600.0)
    """How many runs one key and trigger may have in how long; those beyond are held until a person releases them."""


class Config(Section):
    """The whole file."""

    kafka: Kafka
    connect: KafkaConnect
    ledger: Ledger
    sources: dict[Name, Source] = Field(min_length=1)
    connections: dict[Name, SecretStr] = {}
    entities: dict[Name, Entity] = {}
    triggers: dict[Name, Trigger] = {}
    lookups: dict[Name, Lookup] = {}
    agents: dict[Name, Agent] = {}
    actions: dict[Name, Action] = {}
    models: dict[Name, Model] = {}
    mcp_servers: dict[Name, McpServer] = {}
    limits: Limits = Limits()
    notify: Notify = Notify()
    metrics: Metrics = Metrics()
