from __future__ import annotations

import psycopg
import pytest

from wakestream import ledger

def test_nothing(ledger_url: str) -> None:
    ledger.require_current(ledger_url)
