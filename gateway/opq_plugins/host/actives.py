"""Which installed plug-ins are in use here: each started by its first use, switched, parked, ended."""

import functools
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

from opq_plugins.host.active import Active, Pauses
from opq_plugins.host.runtime import InProcessRuntime, ProcessRuntime, Runtime, rehearse
from opq_plugins.package.package_manifest import PackageManifest
from opq_plugins.package.shelf import Shelf
from opq_plugins.package.store import Installed
from opq_plugins.policy import Policy
from opq_plugins.worker.python_code import JUDGING
from opq_proto.errors import PluginError


class Actives:
    """Read by any thread, changed by one at a time.

    `on_trial_lost(name, why)`, `between`: as `Active` has them.
    """

    def __init__(
        self,
        shelf: Shelf,
        policy: Policy,
        on_trial_lost: Callable[[str, str], None],
        between: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._shelf = shelf
        self._policy = policy
        self._on_trial_lost = on_trial_lost
        self._between = between
        self._by_name: dict[str, Active] = {}
        self.ended = False
        """Nothing is started any more."""

    def get(self, name: str) -> Active | None:
        """None: it was never used."""
        return self._by_name.get(name)

    def names(self) -> list[str]:
        return list(self._by_name)

    def of(self, name: str) -> Active:
        if name not in self._by_name:
            lost = functools.partial(self._on_trial_lost, name)
            self._by_name[name] = Active(name, self._policy, lost, self._between)
        return self._by_name[name]

    def start(self, manifest: PackageManifest, installed: Installed) -> Runtime:
        """What has no runtime. PluginError: it does not start."""
        active = self.of(manifest.name)
        active.replace(runtime := self._started(manifest, installed, active))
        return runtime

    def switch(self, manifest: PackageManifest, to: Installed, on_trial: bool) -> Pauses:
        """Start it, let all take over, end the old one. PluginError: all is as it was."""
        active = self.of(manifest.name)
        old = active.runtime
        runtime = self._started(manifest, to, active)
        try:
            if old is None:
                rehearse(runtime)
            pauses = active.replace(runtime)
        except BaseException:
            runtime.close()
            raise
        if old is not None:
            if on_trial:
                active.try_out()
            old.close()
        return pauses

    def park(self, manifest: PackageManifest) -> None:
        """What only judges and is asked by nobody here (Mauka has a host of its own) needs no process."""
        active = self._by_name[manifest.name]
        if active.runtime is None or active.proxies():
            return
        if all(kind in JUDGING for kind, _ in manifest.symbols):
            self.stop(manifest.name)

    def stop(self, name: str) -> None:
        """Its proxies have nothing behind them until it is started or switched again."""
        active = self._by_name.get(name)
        if active is not None and active.runtime is not None:
            runtime = active.runtime
            active.replace(None)
            runtime.close()

    def forget(self, name: str) -> None:
        """With its counters and proxies; what comes later by this name begins anew."""
        self._by_name.pop(name, None)

    def end(self) -> list[Runtime]:
        """From now on nothing is started. What runs is still to be closed: `close_all`."""
        self.ended = True
        return [active.runtime for active in self._by_name.values() if active.runtime is not None]

    def _started(self, manifest: PackageManifest, installed: Installed, active: Active) -> Runtime:
        if self.ended:
            raise PluginError(f"{installed.name} is not started: the host of plug-ins has ended")
        folder = self._shelf.folder(installed.name, installed.version)
        trusted = installed.signed_by is not None or installed.name in self._policy.trusted
        if manifest.in_process and trusted:
            return InProcessRuntime(folder, manifest)
        return ProcessRuntime(folder, manifest, installed.manifest, self._policy, active.crashed)


def close_all(runtimes: Iterable[Runtime]) -> None:
    """All at once, within 2 s."""
    enders = [threading.Thread(target=runtime.close) for runtime in runtimes]
    for ender in enders:
        ender.start()
    for ender in enders:
        ender.join()
