"""Faults of the server, its slots and the way to it: each is found, nothing else is, and its own remedy mends it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from connectors import doctor
from connectors.checks import server as checks
from connectors.checks.finding import Finding
from tests.harness.server import Server
from tests.stack.doctoring import SOURCE, Case, Patient, go_through, only, patient

AIR, SLOT = "air", "air.slot wake_air"
ONE_EACH = "\n".join(f"select pg_create_physical_replication_slot('s{number}')" for number in range(4))

SETTINGS = [
    Case("server.wal_level", AIR, "alter system set wal_level = replica", then=Server.restart),
    Case("server.slots", AIR, ONE_EACH),
    Case("server.wal_unlimited", AIR, "alter system set max_slot_wal_keep_size = -1\nselect pg_reload_conf()"),
    Case("server.wal_rate", AIR, "alter system set max_slot_wal_keep_size = '2MB'\nselect pg_reload_conf()"),
    Case("server.wal_sender_timeout", AIR, "alter system set wal_sender_timeout = '5s'\nselect pg_reload_conf()"),
    Case(
        "server.idle_slot_timeout",
        AIR,
        "alter system set idle_replication_slot_timeout = '1h'\nselect pg_reload_conf()",
    ),
]
SLOTS = [
    Case("slot.left_over", SLOT, "select pg_create_logical_replication_slot('wake_air', 'pgoutput')"),
    Case("slot.unusable", SLOT, "select pg_create_physical_replication_slot('wake_air')", name="physical"),
    Case(
        "slot.unusable", SLOT, "select pg_create_logical_replication_slot('wake_air', 'test_decoding')", name="plugin"
    ),
]


@pytest.mark.parametrize("case", [*SETTINGS, *SLOTS], ids=str)
def test_a_fault_is_found_and_its_remedy_mends_it(case: Case, one: Patient) -> None:
    go_through(case, one)


def test_all_walsenders_in_use(one: Patient) -> None:
    one.execute("alter system set max_wal_senders = 1")
    one.server.restart()
    with psycopg.connect(one.url("cap"), replication="database", autocommit=True):
        (found,) = only(one, "server.walsenders", AIR)
    assert found.remedy.startswith("alter system set max_wal_senders = '5'")
    one.take(found.remedy)
    with psycopg.connect(one.url("cap"), replication="database", autocommit=True):
        assert one.findings() == []


def test_a_slot_that_somebody_else_reads(one: Patient) -> None:
    one.execute("select pg_create_logical_replication_slot('wake_air', 'pgoutput')")
    with one.reading("theirs"):
        (found,) = only(one, "slot.foreign", SLOT)
        assert "theirs of cap" in found.evidence
        one.take(found.remedy)
    assert one.findings() == []


@pytest.mark.parametrize("visible", [True, False])
def test_a_transaction_that_a_slot_would_wait_for(one: Patient, visible: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LONG_TRANSACTION", 0.0)
    monkeypatch.setattr(checks, "HIDDEN_AGE", 0)
    if visible:
        one.execute("grant pg_read_all_stats to cap")
    with psycopg.connect(one.url("owner")) as writer, ExitStack() as undo:
        undo.callback(one.execute, "revoke pg_read_all_stats from cap")
        writer.execute("update flight set gate = 'B2'")
        (found,) = only(one, "server.long_transaction", AIR)
        assert f"process {writer.info.backend_pid} of owner" in found.evidence
        assert ("update flight" in found.evidence) == visible
        one.take(found.remedy)
        assert one.findings() == []
        writer.close()


def test_a_prepared_transaction_that_a_slot_would_wait_for(one: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LONG_TRANSACTION", 0.0)
    with psycopg.connect(one.server.url(one.database)) as writer:
        writer.execute("update flight set gate = 'B2'")
        writer.execute("prepare transaction 'it''s forgotten'")
    (found,) = only(one, "server.prepared_transaction", AIR)
    one.take(found.remedy)
    assert one.findings() == []


def test_an_old_server(one: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(checks, "MINIMUM_VERSION", 990000)
        only(one, "server.version", AIR)
    assert one.findings() == []


def test_a_database_without_encoding(doctored_server: Server, env: dict[str, str], tmp_path: Path) -> None:
    ascii_only = "template template0 encoding 'SQL_ASCII' locale_provider libc locale 'C'"
    doctored_server.execute(f"create database plain {ascii_only}")
    with patient(doctored_server, env, tmp_path, database="plain") as one:
        one.execute("create table flight (id int primary key)\ngrant select on flight to cap")
        found = doctor.examine_url(one.url("cap"))
        assert [each.id for each in found] == ["server.encoding"]
        assert found[0].remedy.startswith("none: ")
    doctored_server.execute("drop database plain")


def test_a_server_past_four_thousand_million_transactions(one: Patient) -> None:
    """Nothing is wrong: snapshots that Debezium does not deduplicate there are settled by us."""
    one.server.stop()
    one.server.run("pg_resetwal", "--epoch=1")
    one.server.start()
    assert one.findings() == []
    one.server.stop()
    one.server.run("pg_resetwal", "--epoch=0")
    one.server.start()


def test_a_standby(one: Patient) -> None:
    one.server.stop()
    one.server.touch("standby.signal")
    one.server.start()
    only(one, "server.standby", AIR)
    one.server.stop()
    (one.server.data / "standby.signal").unlink()
    one.server.start()
    assert one.findings() == []


def test_a_server_that_does_not_answer_leaves_the_others_examined(one: Patient) -> None:
    one.execute("alter role ops nologin")
    one.urls["capture"] = one.url("cap").replace(f"/{one.database}", "/nowhere")
    found = one.findings()
    assert [(each.id, each.level) for each in found] == [
        ("server.unreachable", "error"),
        ("roles.connection_unreachable", "error"),
    ]
    assert 'database "nowhere" does not exist' in found[0].evidence
    assert doctor.has_errors(found)


@pytest.mark.parametrize("refuses", [True, False])
def test_a_pooler_in_front(one: Patient, refuses: bool) -> None:
    with pooler(one.server.port, refuses=refuses) as port:
        one.urls["capture"] = one.url("cap", port)
        (found,) = only(one, "server.pooler", AIR)
    assert found.remedy.startswith("none: ")
    del one.urls["capture"]
    assert one.findings() == []


def test_a_question_that_is_refused_is_a_finding(one: Patient) -> None:
    one.execute("revoke execute on function pg_partition_tree(regclass) from public")
    found = one.findings()
    assert [(each.id, each.object) for each in found] == [("tables.unanswered", AIR)]
    assert "permission denied for function pg_partition_tree" in found[0].evidence


def test_a_database_before_there_is_a_file(one: Patient) -> None:
    assert doctor.examine_url(one.url("cap")) == []
    one.execute("create table log (line text)\nalter role cap noreplication")
    found = doctor.examine_url(one.url("cap"))
    assert [(each.id, each.object) for each in found] == [
        ("roles.replication", "capture"),
        ("roles.select", "public.log"),
        ("tables.no_key", "public.log"),
    ]
    for each in found[:2]:
        one.take(each.remedy)
    assert [each.id for each in doctor.examine_url(one.url("cap"))] == ["tables.no_key"]
    (refused,) = doctor.examine_url("postgresql://cap:wrong@127.0.0.1:1/x")
    assert (refused.id, refused.object) == ("server.unreachable", "server")


def test_a_role_that_was_lent_is_never_altered(one: Patient) -> None:
    def said(found: list[Finding]) -> dict[str, str]:
        return {each.id: each.remedy for each in found if each.group == "roles"}

    own = "none: leave {} as it is; name a role of its own in {}, which `wake roles` prints the SQL of"
    superuser = one.server.url(one.database)
    role = conninfo.conninfo_to_dict(superuser)["user"]
    assert said(doctor.examine_url(superuser)) == {"roles.superuser": own.format(role, "sources.<source>.capture")}
    one.urls["capture"] = superuser
    assert said(one.findings()) == {"roles.superuser": own.format(role, "sources.air.capture")}
    one.urls["ops"] = superuser
    assert said(one.findings())["roles.connection_powers"] == own.format(role, "connections.ops")
    one.execute("alter role cap createdb connection limit 2\ngrant insert on flight to cap")
    lent = said(doctor.examine_url(one.url("cap")))
    assert lent.keys() == {"roles.powers", "roles.writes", "roles.connection_limit"}
    assert set(lent.values()) == {own.format("cap", "sources.<source>.capture")}


@contextmanager
def pooler(port: int, *, refuses: bool) -> Generator[int]:
    """What a pooler shows of itself: it names a process of its own, or refuses what it does not know."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=_pool, args=(listener, port, refuses), daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)  # or who accepts goes on, and takes whoever comes to that port next
        accepting.join()


def _pool(listener: socket.socket, port: int, refuses: bool) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        if refuses:
            _refuse(client)
        else:
            threading.Thread(target=_relay, args=(client, port), daemon=True).start()


def _refuse(client: socket.socket) -> None:
    with client:
        while (asked := client.recv(65536)) and struct.unpack("!II", asked[:8])[1] != 196608:
            client.sendall(b"N")  # No TLS, no GSSAPI.
        if not asked:
            return
        text = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
        client.sendall(b"E" + struct.pack("!I", len(text) + 4) + text)


def _relay(client: socket.socket, port: int) -> None:
    with closing(client), socket.create_connection(("127.0.0.1", port)) as server:
        threading.Thread(target=_copy, args=(client, server), daemon=True).start()
        while data := server.recv(65536):
            at = data.find(b"K\0\0\0")  # BackendKeyData: length, process, key
            if at >= 0:
                data = data[: at + 5] + struct.pack("!I", 424242) + data[at + 9 :]
            client.sendall(data)


def _copy(client: socket.socket, server: socket.socket) -> None:
    try:
        while data := client.recv(65536):
            server.sendall(data)
    except OSError:
        return


def test_no_such_source(one: Patient) -> None:
    with pytest.raises(Exception, match=f"no source `nope` in .*; there are: `{SOURCE}`"):
        doctor.examine(one.load(), "nope")
