"""The measurements behind every figure in the docs, on the real stack: `python -m benchmarks.run`."""
