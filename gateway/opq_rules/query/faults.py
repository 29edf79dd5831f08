"""What a query could not compute: counted, the last one remembered, sent where errors are sent."""

from opq_rules.batch import Emission
from opq_rules.errors import RowError
from opq_rules.query.counters import Counters
from opq_rules.query.run import Run


class Faults:
    def __init__(self, counters: Counters, context: Run, send: bool) -> None:
        self._counters = counters
        self._context = context
        self._send = send
        self._kept: list[Emission] = []

    def tell(self, error: RowError, out: list[Emission]) -> None:
        self._counters.errors += 1
        self._counters.last_error = str(error)
        self._counters.last_error_ms = self._context.now_ms
        if self._send:
            out.append([{"error": str(error)}])

    def keep(self, error: RowError) -> None:
        """From inside a window: `flush` tells it before what comes next."""
        self.tell(error, self._kept)

    def flush(self, out: list[Emission]) -> None:
        if self._kept:
            out.extend(self._kept)
            self._kept.clear()


def placed(error: RowError) -> RowError:
    """What SELECT raises says so; the rest of a plain rule is WHERE."""
    return error if str(error).startswith("Select ") else RowError(f"Where: {error}")
