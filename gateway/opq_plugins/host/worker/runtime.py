"""One version of a plug-in, ready to make its symbols: in a worker, or in this process."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from opq_plugins.host.worker.call_deadline import CallDeadline
from opq_plugins.host.worker.remote import Remote, RemoteFunction
from opq_plugins.host.worker.remote_source import RemoteSource
from opq_plugins.host.worker.supervisor import WorkerSupervisor
from opq_plugins.package.manifest import FOLDERS, PackageManifest
from opq_plugins.package.properties import Properties, fill, read_properties
from opq_plugins.policy import Policy, ProcessLimits
from opq_plugins.sdk import Row, Value
from opq_plugins.worker import python_code
from opq_plugins.worker.symbol_instances import Symbols, replaying
from opq_proto.errors import OpqError, PluginError

Inside: TypeAlias = Any
"""The object in a proxy: the plug-in's own object, its module, or a Remote; None before the first start."""
REMOTES: dict[str, type[Remote]] = {"source": RemoteSource, "function": RemoteFunction}
"""The host's side by kind; every other kind uses a plain Remote."""


class Runtime(ABC):
    """A started version; `close` ends it."""

    mode = ""

    def __init__(self, folder: Path, manifest: PackageManifest) -> None:
        self.manifest = manifest
        self.replaying: Collection[str] = ()
        """Sources that can continue after an offset."""
        self._factories: Symbols = {}
        self._properties: dict[tuple[str, str], Properties] = {
            (kind, symbol): read_properties(folder, FOLDERS[kind], symbol)
            for kind, symbol in manifest.symbols
        }

    def make(self, kind: str, symbol: str) -> Inside:
        """Makes an sdk Source, Sink or Function, a trigger or analysis, which is not configured yet."""
        if (kind, symbol) not in self._factories:
            raise PluginError(f"{self.manifest.name} {self.manifest.version} has no {kind} {symbol!r}")
        return self._factories[kind, symbol]()

    def filled(self, kind: str, symbol: str, properties: Row) -> dict[str, Value]:
        """`properties` with the symbol's defaults; ValueError for missing ones and wrong types."""
        return fill(self._properties.get((kind, symbol), {}), properties)

    def kill(self) -> int:
        """Kills its process, which is started again; returns its pid, or 0 where it has none of its own."""
        return 0

    @abstractmethod
    def status(self) -> dict[str, Value]: ...
    @abstractmethod
    def close(self) -> None: ...


class ProcessRuntime(Runtime):
    """Runs in its own confined process."""

    mode = "process"

    def __init__(
        self,
        folder: Path,
        manifest: PackageManifest,
        manifest_name: str,
        policy: Policy,
        trusted: bool,
        on_crash: Callable[[str], None],
    ) -> None:
        super().__init__(folder, manifest)
        own = replace(policy, limits=narrowed(policy.limits, manifest.limits))
        supervisor = WorkerSupervisor(manifest.name, folder, manifest_name, own, trusted, on_crash)
        supervisor.start()
        self.supervisor, self.replaying = supervisor, supervisor.replaying
        self._factories = {
            (kind, symbol): functools.partial(REMOTES.get(kind, Remote), supervisor, kind, symbol)
            for kind, symbol in manifest.symbols
        }

    def kill(self) -> int:
        return self.supervisor.kill()

    def status(self) -> dict[str, Value]:
        return self.supervisor.status()

    def close(self) -> None:
        self.supervisor.close()


class InProcessRuntime(Runtime):
    """Runs in the server's process, without protection or cost, for plug-ins that the policy trusts."""

    mode = "inproc"

    def __init__(self, folder: Path, manifest: PackageManifest, limits: ProcessLimits) -> None:
        if manifest.language != "python":
            raise PluginError(f"{manifest.name}: only Python runs in the server's process")
        super().__init__(folder, manifest)
        self._folder = folder
        self._factories = python_code.load_python(folder, manifest)
        self.replaying = replaying(self._factories)
        self.deadline = CallDeadline(manifest.name, limits.call_s)
        """The time limit of the calls of analyses."""
        self.history_s = max(limits.history_s, limits.call_s)
        """That of a call with weeks of a Box."""

    def status(self) -> dict[str, Value]:
        late = self.deadline
        return {
            "status": "running",
            "errMsg": late.trouble,
            "pid": 0,
            "protections": {},
            "crashes": late.ended,
        }

    def close(self) -> None:
        python_code.forget(self._folder, self.manifest)


def dry_run(runtime: Runtime) -> None:
    """Configures each trigger and analysis with its defaults, if it can. PluginError: one cannot begin."""
    for kind, symbol in runtime.manifest.symbols:
        if kind not in python_code.JUDGING:
            continue
        inside = runtime.make(kind, symbol)
        try:
            inside.configure(runtime.filled(kind, symbol, {}))
        except ValueError:  # it requires settings
            continue
        except (OpqError, OSError) as error:
            raise PluginError(f"{kind} {symbol!r}: {error}") from error
        except Exception as error:  # code of a plug-in
            raise PluginError(f"{kind} {symbol!r}: {type(error).__name__}: {error}") from error
        finally:
            if isinstance(inside, Remote):
                inside.release()


def narrowed(limits: ProcessLimits, wanted: Mapping[str, int | float]) -> ProcessLimits:
    """The policy's limits, lowered by the manifest; it cannot raise them."""
    allowed = {each.name: getattr(limits, each.name) for each in fields(limits)}
    less = {key: min(value, allowed[key]) if allowed[key] else value for key, value in wanted.items()}
    return replace(limits, **{key: type(allowed[key])(value) for key, value in less.items()})
