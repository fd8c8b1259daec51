"""The process that serves the model: llama.cpp's own HTTP server, in process with xllamacpp."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any, cast

CONTEXT = 4096  # tokens, prompt and answer together
PROMPT_CACHE = 256  # MiB of kept prompt states; the library's own default is 8 GiB


def main(path: str, name: str, port: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # before the library starts its threads, which inherit it
    library = cast("Any", importlib.import_module("xllamacpp"))  # a binary module without types
    params = library.CommonParams()
    params.model.path = path
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.n_ctx = CONTEXT
    params.n_parallel = 1
    params.cpuparams.n_threads = os.cpu_count() or 1
    params.cpuparams_batch.n_threads = os.cpu_count() or 1
    params.cache_ram_mib = PROMPT_CACHE
    params.ui = False
    server = library.Server(params)
    print(f"serving {name} on {server.listening_address}", flush=True)
    signal.sigwait(ending)
    os._exit(0)  # the library's own end waits for requests that are still being answered


if __name__ == "__main__":
    main(*sys.argv[1:])
