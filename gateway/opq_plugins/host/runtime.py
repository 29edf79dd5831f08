"""One version of a plug-in, ready to make its symbols: in a worker, or in this process."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from opq_plugins.host.remote import Remote, RemoteFunction
from opq_plugins.host.remote_source import RemoteSource
from opq_plugins.host.supervisor import WorkerSupervisor
from opq_plugins.package.manifest import FOLDERS, PackageManifest
from opq_plugins.package.properties import Properties, fill, read_properties
from opq_plugins.policy import Policy, ProcessLimits
from opq_plugins.sdk import Row, Value
from opq_plugins.worker import python_code
from opq_plugins.worker.server import Symbols, replaying
from opq_proto.errors import OpqError, PluginError

Inside: TypeAlias = Any
"""What a proxy holds: the plug-in's own object, its module, or a Remote; None: there is none."""
REMOTES: dict[str, type[Remote]] = {"source": RemoteSource, "function": RemoteFunction}
"""This side's half by kind; every other kind has a plain Remote."""


class Runtime(ABC):
    """Started; `close` ends it."""

    mode = ""

    def __init__(self, folder: Path, manifest: PackageManifest) -> None:
        self.manifest = manifest
        self.replaying: Collection[str] = ()
        """Sources that can go on after an offset."""
        self._factories: Symbols = {}
        self._properties: dict[tuple[str, str], Properties] = {
            (kind, symbol): read_properties(folder, FOLDERS[kind], symbol)
            for kind, symbol in manifest.symbols
        }

    def make(self, kind: str, symbol: str) -> Inside:
        """An sdk Source, Sink or Function, a trigger or analysis, not yet configured."""
        if (kind, symbol) not in self._factories:
            raise PluginError(f"{self.manifest.name} {self.manifest.version} has no {kind} {symbol!r}")
        return self._factories[kind, symbol]()

    def filled(self, kind: str, symbol: str, properties: Row) -> dict[str, Value]:
        """With the symbol's defaults; ValueError for what is missing or of a wrong type."""
        return fill(self._properties.get((kind, symbol), {}), properties)

    def kill(self) -> int:
        """SIGKILL for its process, which is started again; its pid. 0: it has none of its own."""
        return 0

    @abstractmethod
    def status(self) -> dict[str, Value]: ...
    @abstractmethod
    def close(self) -> None: ...


class ProcessRuntime(Runtime):
    """In a confined process of its own."""

    mode = "process"

    def __init__(
        self,
        folder: Path,
        manifest: PackageManifest,
        manifest_name: str,
        policy: Policy,
        on_crash: Callable[[str], None],
    ) -> None:
        super().__init__(folder, manifest)
        limits = narrowed(policy.limits, manifest.limits)
        supervisor = WorkerSupervisor(manifest.name, folder, manifest_name, limits, policy, on_crash)
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
    """In the server's process: no wall around it, no cost either. For what the policy trusts."""

    mode = "inproc"

    def __init__(self, folder: Path, manifest: PackageManifest) -> None:
        if manifest.language != "python" or manifest.portable:
            raise PluginError(f"{manifest.name}: only Python of our own form runs in the server's process")
        super().__init__(folder, manifest)
        self._folder = folder
        self._factories = python_code.load_python(folder, manifest)
        self.replaying = replaying(self._factories)

    def status(self) -> dict[str, Value]:
        return {"status": "running", "errMsg": "", "pid": 0, "protections": {}, "crashes": 0}

    def close(self) -> None:
        python_code.forget(self._folder, self.manifest)


def rehearse(runtime: Runtime) -> None:
    """What only judges is begun with its defaults, unless it has none. PluginError: it cannot begin."""
    for kind, symbol in runtime.manifest.symbols:
        if kind not in python_code.JUDGING:
            continue
        inside = runtime.make(kind, symbol)
        try:
            inside.configure(runtime.filled(kind, symbol, {}))
        except ValueError:  # it wants settings
            continue
        except (OpqError, OSError) as error:
            raise PluginError(f"{kind} {symbol!r}: {error}") from error
        except Exception as error:  # foreign code
            raise PluginError(f"{kind} {symbol!r}: {type(error).__name__}: {error}") from error
        finally:
            if isinstance(inside, Remote):
                inside.release()


def narrowed(limits: ProcessLimits, wanted: Mapping[str, int | float]) -> ProcessLimits:
    """The manifest may take less than the policy gives, never more."""
    allowed = {each.name: getattr(limits, each.name) for each in fields(limits)}
    less = {key: min(value, allowed[key]) if allowed[key] else value for key, value in wanted.items()}
    return replace(limits, **{key: type(allowed[key])(value) for key, value in less.items()})
