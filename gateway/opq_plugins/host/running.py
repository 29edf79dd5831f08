"""Installed plug-ins that are in use: their runtimes, and the proxies that others hold of them.

`RunningPlugin.replace` is the live swap: nothing is lost or doubled, and any failure leaves all as it was.
`RunningPlugins` starts each plug-in by its first use, switches, parks and ends it.
"""

import functools
import statistics
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from opq_plugins.host.proxy import PluginAnalysis, PluginFunction, PluginSink, PluginTrigger, Proxy
from opq_plugins.host.runtime import InProcessRuntime, ProcessRuntime, Runtime, rehearse
from opq_plugins.host.source_proxy import PluginSource
from opq_plugins.package.manifest import PackageManifest
from opq_plugins.package.releases import Release, ReleaseFolder
from opq_plugins.policy import Policy
from opq_plugins.worker.python_code import JUDGING
from opq_proto.errors import OpqError, PluginError

PROXIES: dict[str, type[Proxy]] = {
    each.kind: each for each in (PluginSource, PluginSink, PluginFunction, PluginTrigger, PluginAnalysis)
}


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long the insides stood still, and how many rules they belong to."""

    rules: int
    p50_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a replacement did. `pause_ms`: how long a rule's instance stood still, per instance."""

    name: str
    old: str
    new: str
    rules: int
    pause_p50_ms: float
    pause_max_ms: float

    def as_json(self) -> dict[str, Any]:
        """`{"name", "from", "to", "rules", "pause_ms": {"p50", "max"}}`."""
        return {
            "name": self.name,
            "from": self.old,
            "to": self.new,
            "rules": self.rules,
            "pause_ms": {"p50": self.pause_p50_ms, "max": self.pause_max_ms},
        }


class RunningPlugin:
    """`on_trial_lost(why)`: a version that is on trial fails; called from any thread, once per trial.

    `between`: held while insides are exchanged; who holds it has one version for several calls.
    """

    def __init__(
        self,
        name: str,
        policy: Policy,
        on_trial_lost: Callable[[str], None],
        between: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.name = name
        self._between = between or nullcontext()
        self.runtime: Runtime | None = None
        self.calls = self.failures = 0
        self._policy = policy
        self._on_trial_lost = on_trial_lost
        self._proxies: weakref.WeakSet[Proxy] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._trial_until_s = 0.0
        self._trial_calls = self._trial_failures = self._trial_crashes = 0

    def make(self, kind: str, symbol: str) -> Any:
        """A proxy, not yet configured."""
        with self._lock:
            proxy = PROXIES[kind](symbol, self.runtime, self._count_call, self._policy.drain_s)
            self._proxies.add(proxy)
        return proxy

    def proxies(self) -> list[Proxy]:
        return [proxy for proxy in list(self._proxies) if not proxy.closed]

    def references(self) -> dict[str, int]:
        """Rule -> how many of its parts are of this plug-in."""
        return dict(Counter(proxy.rule_id for proxy in self.proxies() if proxy.rule_id))

    def replace(self, runtime: Runtime | None) -> Pauses:
        """All proxies take over to `runtime` (None: to nothing); the old runtime is not closed.

        Raises PluginError: then all go on with the old one.
        """
        with self._lock:
            proxies = self.proxies()
            prepared = self._prepare(proxies, runtime)
            with self._between:
                done, pauses = self._exchange(prepared, runtime)
            for proxy, old, _ in done:
                proxy.bind(runtime)
                _release(proxy, old)
            self.runtime = runtime
            rules = len({proxy.rule_id for proxy in proxies if proxy.rule_id})
        if not pauses:
            return Pauses(rules, 0.0, 0.0)
        return Pauses(rules, round(statistics.median(pauses), 3), round(max(pauses), 3))

    def try_out(self) -> None:
        """From now on, for the policy's time, failures bring the old version back."""
        self._trial_calls = self._trial_failures = self._trial_crashes = 0
        self._trial_until_s = time.monotonic() + self._policy.trial_s

    def crashed(self, why: str) -> None:
        """The worker's process has ended by itself."""
        if self._on_trial():
            self._trial_crashes += 1
            if self._trial_crashes >= self._policy.trial_crashes:
                self._lose(f"{self._trial_crashes} crashes: {why}")

    def _prepare(self, proxies: list[Proxy], runtime: Runtime | None) -> list[tuple[Proxy, Any]]:
        prepared: list[tuple[Proxy, Any]] = []
        for proxy in proxies:
            try:
                prepared.append((proxy, None if runtime is None else proxy.prepare(runtime)))
            except Exception as error:  # foreign code
                for owner, unused in prepared:
                    _release(owner, unused)
                why = error if isinstance(error, OpqError | ValueError | OSError) else repr(error)
                raise PluginError(f"{self.name}: {proxy.kind} {proxy.symbol!r}: {why}") from error
        return prepared

    def _exchange(
        self, prepared: list[tuple[Proxy, Any]], runtime: Runtime | None
    ) -> tuple[list[tuple[Proxy, Any, str]], list[float]]:
        """Proxies with their old insides and versions; the pauses in ms. PluginError: none has changed."""
        version = "" if runtime is None else str(runtime.manifest.version)
        done: list[tuple[Proxy, Any, str]] = []
        pauses: list[float] = []
        for proxy, inside in prepared:
            before = proxy.version
            try:
                old, pause_s = proxy.swap(inside, version)
            except Exception as error:  # foreign code; what was done is undone
                for other, former, its in reversed(done):
                    undone, _ = other.swap(former, its)
                    other.release(undone)
                for owner, unused in prepared[len(done) :]:
                    _release(owner, unused)
                what = "" if runtime is None else f" {version}"
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


def _release(proxy: Proxy, inside: Any) -> None:
    """What closing throws is the old inside's own matter; the take-over has been done."""
    try:
        proxy.release(inside)
    except Exception:
        return


class RunningPlugins:
    """Read by any thread, changed by one at a time.

    `on_trial_lost(name, why)`, `between`: as `RunningPlugin` has them.
    """

    def __init__(
        self,
        releases: ReleaseFolder,
        policy: Policy,
        on_trial_lost: Callable[[str, str], None],
        between: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._releases = releases
        self._policy = policy
        self._on_trial_lost = on_trial_lost
        self._between = between
        self._by_name: dict[str, RunningPlugin] = {}
        self.ended = False
        """Nothing is started any more."""

    def get(self, name: str) -> RunningPlugin | None:
        """None: it was never used."""
        return self._by_name.get(name)

    def names(self) -> list[str]:
        return list(self._by_name)

    def of(self, name: str) -> RunningPlugin:
        if name not in self._by_name:
            lost = functools.partial(self._on_trial_lost, name)
            self._by_name[name] = RunningPlugin(name, self._policy, lost, self._between)
        return self._by_name[name]

    def start(self, manifest: PackageManifest, installed: Release) -> Runtime:
        """What has no runtime. PluginError: it does not start."""
        running = self.of(manifest.name)
        running.replace(runtime := self._started(manifest, installed, running))
        return runtime

    def switch(self, manifest: PackageManifest, to: Release, on_trial: bool) -> Pauses:
        """Start it, let all take over, end the old one. PluginError: all is as it was."""
        running = self.of(manifest.name)
        old = running.runtime
        runtime = self._started(manifest, to, running)
        try:
            if old is None:
                rehearse(runtime)
            pauses = running.replace(runtime)
        except BaseException:
            runtime.close()
            raise
        if old is not None:
            if on_trial:
                running.try_out()
            old.close()
        return pauses

    def park(self, manifest: PackageManifest) -> None:
        """Triggers and analyses that nobody here uses (Mauka has a host of its own) need no process."""
        running = self._by_name[manifest.name]
        if running.runtime is None or running.proxies():
            return
        if all(kind in JUDGING for kind, _ in manifest.symbols):
            self.stop(manifest.name)

    def stop(self, name: str) -> None:
        """Its proxies have no inside until it is started or switched again."""
        running = self._by_name.get(name)
        if running is not None and running.runtime is not None:
            runtime = running.runtime
            running.replace(None)
            runtime.close()

    def forget(self, name: str) -> None:
        """With its counters and proxies; what comes later by this name begins again."""
        self._by_name.pop(name, None)

    def end(self) -> list[Runtime]:
        """From now on nothing is started. What runs is still to be closed: `close_all`."""
        self.ended = True
        return [running.runtime for running in self._by_name.values() if running.runtime is not None]

    def _started(self, manifest: PackageManifest, installed: Release, running: RunningPlugin) -> Runtime:
        if self.ended:
            raise PluginError(f"{installed.name} is not started: the host of plug-ins has ended")
        folder = self._releases.folder(installed.name, installed.version)
        trusted = installed.signed_by is not None or installed.name in self._policy.trusted
        if manifest.in_process and trusted:
            return InProcessRuntime(folder, manifest)
        return ProcessRuntime(folder, manifest, installed.manifest, self._policy, running.crashed)


def close_all(runtimes: Iterable[Runtime]) -> None:
    """All at once, within 2 s."""
    enders = [threading.Thread(target=runtime.close) for runtime in runtimes]
    for ender in enders:
        ender.start()
    for ender in enders:
        ender.join()
