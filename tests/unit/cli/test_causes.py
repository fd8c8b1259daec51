from __future__ import annotations

import json

from tests.unit.cli.conftest import Wake
from tests.unit.console.seeds import RUN_ID, Seed


def test_the_tree_of_a_run(wake: Wake, seed: Seed) -> None:
    seed.run()
    seed.action()
    done = wake("runs", "tree", RUN_ID, "--json", LEDGER_URL=seed.url)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["change"]["run"]["asked"] is True
    done = wake("runs", "tree", RUN_ID, LEDGER_URL=seed.url)
    assert f"run {RUN_ID} of rebooker: waiting  ← this one" in done.stdout
