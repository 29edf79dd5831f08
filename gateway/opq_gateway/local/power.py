"""Power: the orderly end when the supply fails.

A supply or UPS pulls a GPIO whose value Linux shows as a file, or its program sends SIGPWR. The
gateway then stops as on SIGTERM, so that ring, queue and sequences are on disk while the
capacitor or battery still lasts; a command such as `systemctl poweroff` may follow.
"""

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

from opq_gateway.config import PowerSection
from opq_proto.kit import log

POLL_S = 0.1
"""Period of the checks of the input."""
SIGNAL_S = 0.5
"""Period of the checks where there is no input and only SIGPWR counts."""
COMMAND_S = 30.0
"""Longest wait for the command."""


class PowerFail:
    """Watches the supply; `run` in its own thread, `end` is called once."""

    def __init__(
        self,
        config: PowerSection,
        end: Callable[[], object],
        monotonic_s: Callable[[], float] = time.monotonic,
        report: Callable[[bool], object] = lambda failing: None,
    ) -> None:
        """`report` gets whether the supply fails, at each change and before `end`."""
        self._config = config
        self._end, self._report = end, report
        self._monotonic_s = monotonic_s
        self._log = log.get(service="gateway")
        self._since_s: float | None = None
        self._unreadable = False
        self._signalled = False
        self.failed = False
        """Whether the supply failed and the end has begun."""

    @contextlib.contextmanager
    def signal_caught(self) -> Iterator[None]:
        """A context in which SIGPWR counts as a failure; it does nothing outside of the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGPWR, self._caught)
        try:
            yield
        finally:
            signal.signal(signal.SIGPWR, before)

    def _caught(self, *_: object) -> None:
        # takes no lock and logs nothing, because this interrupts the main thread anywhere
        self._signalled = True

    def run(self, stop: threading.Event) -> None:
        """Checks every POLL_S, or every SIGNAL_S where there is no input, until `stop` or the failure."""
        while not self.failed and not stop.wait(SIGNAL_S if self._config.fail_input is None else POLL_S):
            self.check()

    def check(self) -> None:
        """Checks once."""
        now_s = self._monotonic_s()
        if self._signalled:
            self._fail("SIGPWR", 0.0)
        elif not self._input_failed():
            if self._since_s is not None:
                self._log.info("power.back", after_s=round(now_s - self._since_s, 1))
                self._report(False)
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
            self._report(True)
            self._log.warning("power.failing", wait_s=self._config.wait_s)
        if self._since_s is not None and now_s - self._since_s >= self._config.wait_s:
            self._fail(str(self._config.fail_input), now_s - self._since_s)

    def after_end(self) -> None:
        """Runs the configured command if the supply failed; called after everything else has ended."""
        if not self.failed or not self._config.command:
            return
        try:
            ended = subprocess.run(self._config.command, timeout=COMMAND_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            self._log.error("power.command_failed", command=self._config.command[0], reason=str(error))
            return
        self._log.info("power.command", command=self._config.command[0], exit_code=ended.returncode)

    def _fail(self, reason: str, after_s: float) -> None:
        if not self.failed:
            self.failed = True
            self._report(True)
            self._log.error("power.failed", reason=reason, after_s=round(after_s, 1))
            self._end()

    def _input_failed(self) -> bool:
        path = self._config.fail_input
        if path is None:
            return False
        try:
            with path.open("rb", buffering=0) as file:
                value = file.read(8).strip()
        except OSError as error:
            if not self._unreadable:
                self._log.error("power.unreadable", path=str(path), reason=error.strerror)
            self._unreadable = True
            return False  # a broken wire to the input must not switch a cabinet off
        self._unreadable = False
        return value == b"1"
