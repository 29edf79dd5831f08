"""How long threads of a rule engine may take to end in tests: a machine that stops leaves none behind.

Of its own, since a test's process sets it by itself and a conftest for each test.
"""

import sys
from collections.abc import Callable

MODULES = (
    "opq_rules.engine.clock",
    "opq_rules.engine.lifecycle.sink_pool",
)
PATIENCE_S = 240.0


def end_patiently(put: Callable[[object, str, float], None] = setattr) -> None:
    """For those that are imported."""
    for name in MODULES:
        if name in sys.modules:
            put(sys.modules[name], "STOP_S", PATIENCE_S)
