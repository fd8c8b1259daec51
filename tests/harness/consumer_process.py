"""A consumer as a process of its own: `python -m tests.harness.consumer_process FILE`, the file as JSON.

It ends with 0 when it was told to stop, and with 1 and the reason on its last line when it could not go on.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from cdc_consumer import service
from wakestream.config import Config
from wakestream.errors import WakeError


def main(path: str) -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config = Config.model_validate(json.loads(Path(path).read_text()))
    stop = threading.Event()

    def told(_: int, __: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, told)
    try:
        service.run(config, list(config.sources), stop)
    except WakeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
