"""Ends the process of a test that hangs where its limit does not reach it, and prints where its threads are.

What the test started lives on until tools/suite.py ends.

pytest-timeout raises once, in the main thread: C code that does not return is not left, an exception in
`__del__` is ignored, and what a fixture's end waits for afterwards has no limit. A whole run stood still.
"""

import faulthandler
import os
from collections.abc import Iterator

import pytest

GRACE_S = 120.0


class HungTests:
    """pytest plugin; with a limit of 0, as for pytest-timeout, a test may take for ever.

    xdist reports the test of a process that ends as failed, and starts another process.
    """

    def __init__(self, limit_s: float, grace_s: float = GRACE_S) -> None:
        self._limit_s, self._grace_s = limit_s, grace_s
        self._terminal = os.dup(2)  # not captured yet

    def _limit(self, item: pytest.Item) -> Iterator[None]:
        mark = item.get_closest_marker("timeout")
        limit_s = self._limit_s
        if mark is not None:
            limit_s = float(mark.args[0] if mark.args else mark.kwargs["timeout"])
        # for each step: pytest stops the clock when a test fails, before its fixtures end
        if limit_s:
            faulthandler.dump_traceback_later(limit_s + self._grace_s, exit=True, file=self._terminal)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        return (yield from self._limit(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        return (yield from self._limit(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        return (yield from self._limit(item))
