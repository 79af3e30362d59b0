"""stlm: the open workbench for super tiny language models."""

import os

# Threads that wait for each other spin before they sleep. As libgomp has it they spin so long that one busy neighbour slows
# training to a fifth; with fewer turns it keeps half, and nothing is lost where nobody else wants the cores
# (`python -m benchmarks neighbours`). It counts only if it is set before torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
