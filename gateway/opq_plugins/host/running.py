"""Installed plug-ins that are in use: their runtimes, and the proxies that their users hold.

`RunningPlugin.replace` exchanges them without loss or repetition; after a failure nothing has changed.
"""

import statistics
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from opq_plugins.host.proxy import PluginAnalysis, PluginFunction, PluginSink, PluginTrigger, Proxy
from opq_plugins.host.source_proxy import PluginSource
from opq_plugins.host.worker.runtime import Inside, Runtime, dry_run
from opq_plugins.policy import Policy
from opq_plugins.sdk import Value
from opq_proto.errors import OpqError, PluginError

PROXIES: dict[str, type[Proxy]] = {
    each.kind: each for each in (PluginSource, PluginSink, PluginFunction, PluginTrigger, PluginAnalysis)
}


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long the instances stopped, and how many rules they belong to."""

    rules: int
    p50_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Replaced:
    """The result of a replacement. `pause_ms`: how long each instance of a rule stopped."""

    name: str
    old: str
    new: str
    rules: int
    pause_p50_ms: float
    pause_max_ms: float

    def as_json(self) -> dict[str, Value]:
        """`{"name", "from", "to", "rules", "pause_ms": {"p50", "max"}}`."""
        return {
            "name": self.name,
            "from": self.old,
            "to": self.new,
            "rules": self.rules,
            "pause_ms": {"p50": self.pause_p50_ms, "max": self.pause_max_ms},
        }


class RunningPlugin:
    """One plug-in in use.

    `on_trial_lost(why)`: a version on trial has failed; called from any thread, once per trial. `between`:
    held while insides are exchanged; a caller that holds it gets the same version for several calls.
    """

    def __init__(
        self,
        name: str,
        policy: Policy,
        on_trial_lost: Callable[[str], None],
        between: AbstractContextManager[object],
    ) -> None:
        self.name = name
        self._between = between
        self.runtime: Runtime | None = None
        self.calls = self.failures = 0
        self._policy = policy
        self._on_trial_lost = on_trial_lost
        self._proxies: weakref.WeakSet[Proxy] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._trial_until_s = 0.0
        self._trial_calls = self._trial_failures = self._trial_crashes = 0

    def make(self, kind: str, symbol: str) -> Proxy:
        """Makes a proxy, which is not configured yet."""
        with self._lock:
            proxy = PROXIES[kind](symbol, self.runtime, self._count_call, self._policy.drain_s)
            self._proxies.add(proxy)
        return proxy

    def proxies(self) -> list[Proxy]:
        return [proxy for proxy in list(self._proxies) if not proxy.closed]

    def references(self) -> dict[str, int]:
        """Rule -> number of its parts that belong to this plug-in."""
        return dict(Counter(proxy.rule_id for proxy in self.proxies() if proxy.rule_id))

    def replace(self, runtime: Runtime | None) -> Pauses:
        """Moves all proxies to `runtime` (None: they lose their inside). PluginError: all keep the old
        one."""
        with self._lock:
            proxies = self.proxies()
            prepared = self._prepare(proxies, runtime)
            with self._between:
                done, pauses = self._exchange(prepared, runtime)
            for proxy, old, _ in done:
                _release(proxy, old)
            self.runtime = runtime
            rules = len({proxy.rule_id for proxy in proxies if proxy.rule_id})
        if not pauses:
            return Pauses(rules, 0.0, 0.0)
        return Pauses(rules, round(statistics.median(pauses), 3), round(max(pauses), 3))

    def switch(self, runtime: Runtime, on_trial: bool) -> Pauses:
        """Moves all proxies to `runtime`, and ends the old one; PluginError: nothing has changed.

        `on_trial`: during the policy's trial time failures bring the old version back.
        """
        old = self.runtime
        try:
            if old is None:
                dry_run(runtime)
            pauses = self.replace(runtime)
        except BaseException:
            runtime.close()
            raise
        if old is not None:
            if on_trial:
                self._trial_calls = self._trial_failures = self._trial_crashes = 0
                self._trial_until_s = time.monotonic() + self._policy.trial_s
            old.close()
        return pauses

    def stop(self) -> None:
        """Stops it; its proxies have no inside until it is started or switched again."""
        runtime = self.runtime
        if runtime is not None:
            self.replace(None)
            runtime.close()

    def park(self) -> None:
        """Stops it where no proxy uses it."""
        if not self.proxies():
            self.stop()

    def crashed(self, why: str) -> None:
        """Called when the worker's process has ended by itself."""
        if self._on_trial():
            self._trial_crashes += 1
            if self._trial_crashes >= self._policy.trial_crashes:
                self._lose(f"{self._trial_crashes} crashes: {why}")

    def _prepare(self, proxies: list[Proxy], runtime: Runtime | None) -> list[tuple[Proxy, Inside]]:
        prepared: list[tuple[Proxy, Inside]] = []
        for proxy in proxies:
            try:
                prepared.append((proxy, None if runtime is None else proxy.prepare(runtime)))
            except Exception as error:  # code of a plug-in
                for owner, unused in prepared:
                    _release(owner, unused)
                why = error if isinstance(error, OpqError | ValueError | OSError) else repr(error)
                raise PluginError(f"{self.name}: {proxy.kind} {proxy.symbol!r}: {why}") from error
        return prepared

    def _exchange(
        self, prepared: list[tuple[Proxy, Inside]], runtime: Runtime | None
    ) -> tuple[list[tuple[Proxy, Inside, Runtime | None]], list[float]]:
        """Returns proxies with old insides and runtimes, and pauses in ms. PluginError: nothing changed."""
        done: list[tuple[Proxy, Inside, Runtime | None]] = []
        pauses: list[float] = []
        for proxy, inside in prepared:
            try:
                old, before, pause_s = proxy.swap(inside, runtime)
            except Exception as error:  # code of a plug-in; the exchange is undone
                for other, former, its in reversed(done):
                    undone, *_ = other.swap(former, its)
                    other.release(undone)
                for owner, unused in prepared[len(done) :]:
                    _release(owner, unused)
                what = "" if runtime is None else f" {runtime.manifest.version}"
                raise PluginError(
                    f"{self.name}{what}: {proxy.kind} {proxy.symbol!r} does not take over: {error}"
                ) from error
            done.append((proxy, old, before))
            pauses.append(pause_s * 1e3)
        return done, pauses

    def _count_call(self, failed: bool) -> None:
        self.calls += 1
        self.failures += failed
        if self._trial_until_s and self._on_trial():
            self._trial_calls += 1
            self._trial_failures += failed
            few = self._policy.trial_crashes
            if self._trial_failures >= few and 2 * self._trial_failures > self._trial_calls:
                self._lose(f"{self._trial_failures} of {self._trial_calls} calls failed")

    def _on_trial(self) -> bool:
        return time.monotonic() < self._trial_until_s

    def _lose(self, why: str) -> None:
        self._trial_until_s = 0.0
        threading.Thread(target=self._on_trial_lost, args=(why,), name=f"rollback-{self.name}").start()


def _release(proxy: Proxy, inside: Inside) -> None:
    """Releases an old inside; its errors are ignored, because the exchange is complete."""
    try:
        proxy.release(inside)
    except Exception:
        return
