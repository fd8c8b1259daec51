from __future__ import annotations

import pytest

from cdc_consumer import decode
from tests.harness.debezium import LogWriter, insert
from wakestream.errors import EventError

SOURCE = '"source":{"schema":"public","table":"flight","ts_ms":5,"lsn":9}'
BLOCK = '"transaction":{"id":"7:1","total_order":2,"data_collection_order":1}'


def change(key: bytes | None, body: str) -> decode.Change:
    return decode.change_of(decode.decode(body.encode()), key)


def test_an_update() -> None:
    found = change(b'{"id":7}', f'{{"op":"u","before":null,"after":{{"id":7,"n":1.50}},{SOURCE},{BLOCK}}}')
    assert found == decode.Change("u", "public.flight", b'{"id":7}', b'{"id":7,"n":1.50}', 2, 9)


def test_the_old_row_is_kept_where_it_tells_that_a_null_is_one() -> None:
    def before(old: str, new: str) -> bytes | None:
        return change(b'{"id":7}', f'{{"op":"u","before":{old},"after":{new},{SOURCE},{BLOCK}}}').before

    assert before('{"id":7,"n":1}', '{"id":7,"n":null}') == b'{"id":7,"n":1}'
    assert before('{"id":7,"n":1}', '{"id":7,"n":2}') is None
    assert before("null", '{"id":7,"n":null}') is None


def test_a_delete_has_no_image_and_a_truncate_no_key() -> None:
    assert change(b'{"id":7}', f'{{"op":"d","before":{{"id":7}},"after":null,{SOURCE},{BLOCK}}}').after is None
    assert change(None, f'{{"op":"t","before":null,"after":null,{SOURCE},{BLOCK}}}').key == b""


def test_a_snapshot_row_needs_no_transaction() -> None:
    assert change(b'{"id":7}', f'{{"op":"r","after":{{"id":7}},{SOURCE},"transaction":null}}').order is None


def test_an_end_is_seen_at_a_glance() -> None:
    log = LogWriter()
    log.transaction(insert("flight", {"id": 1}, {}))
    assert [decode.is_end(value) for _, _, value in log.records] == [False, False, True]
    assert not decode.is_end(None)


@pytest.mark.parametrize(
    "value", [None, b"", b"hello", b"[1]", b"{", b'{"op":5}', b'{"op":"u","transaction":{}}', b"\xff\xfe", b"null"]
)
def test_what_no_connector_writes(value: bytes | None) -> None:
    with pytest.raises(EventError):
        decode.decode(value)


@pytest.mark.parametrize(
    ("key", "body", "detail"),
    [
        (b'{"id":7}', f'{{"op":"u","after":{{}},{BLOCK}}}', "names no table"),
        (b'{"id":7}', f'{{"op":"x","after":{{}},{SOURCE},{BLOCK}}}', "op is 'x'"),
        (b'{"id":7}', f'{{"op":"u","after":null,{SOURCE},{BLOCK}}}', "no new image"),
        (b'{"id":7}', f'{{"op":"c","after":[1],{SOURCE},{BLOCK}}}', "no new image"),
        (None, f'{{"op":"d","after":null,{SOURCE},{BLOCK}}}', "has no key"),
        (b"7", f'{{"op":"d","after":null,{SOURCE},{BLOCK}}}', "no JSON object"),
        (b'{"id":', f'{{"op":"d","after":null,{SOURCE},{BLOCK}}}', "no JSON object"),
        (b"\xff", f'{{"op":"d","after":null,{SOURCE},{BLOCK}}}', "no JSON object"),
        (b'{"id":7}', f'{{"op":"d","after":null,{SOURCE}}}', "has no transaction"),
    ],
)
def test_an_incomplete_change(key: bytes | None, body: str, detail: str) -> None:
    with pytest.raises(EventError, match=detail):
        change(key, body)


def test_the_content_of_a_message() -> None:
    assert decode.content_of(decode.LogicalMessage("wake", "AQID")) == b"\x01\x02\x03"
    for content in ("*", "A", "ä"):
        with pytest.raises(EventError, match="not base64"):
            decode.content_of(decode.LogicalMessage("wake", content))


def test_a_digest_is_of_the_payload_as_it_came() -> None:
    assert decode.digest(b"a") != decode.digest(b"b")
    assert decode.digest(None) == decode.digest(b"")
