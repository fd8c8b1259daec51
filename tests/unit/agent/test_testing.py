"""The servers that stand in for a model and for who takes webhooks."""

from __future__ import annotations

import socket

import pytest
import requests

from agent.testing import WebhookReceiver


@pytest.mark.parametrize("sent", [b"", b'{"ticket"'])
def test_a_request_whose_sender_is_gone_before_its_end_was_never_made(sent: bytes) -> None:
    with WebhookReceiver() as receiver:
        with socket.create_connection(("127.0.0.1", receiver.port)) as cut:
            cut.sendall(b"POST / HTTP/1.1\r\nIdempotency-Key: cut\r\nContent-Length: 13\r\n\r\n" + sent)
            cut.shutdown(socket.SHUT_WR)
            assert cut.recv(1) == b"", "it is closed without an answer"
        answer = requests.post(receiver.url, json={"ticket": 1}, headers={"Idempotency-Key": "whole"}, timeout=10)
        assert (answer.status_code, receiver.keys()) == (200, {"whole": 1})
        assert receiver.seen[0].body == {"ticket": 1}
