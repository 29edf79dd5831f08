"""The Box's own log lines, put into words; of a Box that talks without end only some."""

from opq_gateway.counters import Counters
from opq_proto import log as logging
from opq_proto import log_codes
from opq_proto.link_messages import Log
from opq_proto.rate_limit import RateLimitedLog

BOX_LINES = 20
"""Lines of a Box's own log that are repeated here per LOG_PERIOD_S."""


class BoxLog:
    """One Box's lines into the gateway's log."""

    def __init__(self, log: logging.Log, counters: Counters, lines: RateLimitedLog) -> None:
        self._log = log
        self._counters = counters
        self._lines = lines
        self._told = 0

    def take(self, message: Log) -> None:
        """A line of the Box."""
        self._counters.add("log_lines")
        if self._lines.due("log lines of the Box"):
            self._told = 0
        self._told += 1
        if self._told > BOX_LINES:
            self._counters.add("log_lines_untold")
            return
        event, warns, facts = log_codes.words(message)
        (self._log.warning if warns else self._log.info)(event, **facts)
