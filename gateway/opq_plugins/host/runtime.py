"""One version of a plug-in, ready to make its symbols: in a worker, or in this process."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol

from opq_plugins.host.process import PluginProcess
from opq_plugins.host.remote import Remote, RemoteFunction, RemoteSink
from opq_plugins.host.remote_source import RemoteSource
from opq_plugins.package.package_manifest import FOLDERS, PackageManifest
from opq_plugins.package.properties import Properties, fill, read_properties
from opq_plugins.policy import Limits, Policy
from opq_plugins.worker import python_code
from opq_plugins.worker.instances import replays
from opq_proto.errors import OpqError, PluginError

REMOTES: dict[str, type[Remote]] = {each.kind: each for each in (RemoteSource, RemoteSink, RemoteFunction)}


class Runtime(Protocol):
    """Started; `close` ends it."""

    manifest: PackageManifest
    mode: str

    def make(self, kind: str, symbol: str) -> Any:
        """An sdk Source, Sink or Function, a trigger or analysis, not yet configured."""
        ...

    def filled(self, kind: str, symbol: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        """With the symbol's defaults; ValueError for what is missing or of a wrong type."""
        ...

    def replays(self, symbol: str) -> bool:
        """Whether this source can go on behind an offset."""
        ...

    def status(self) -> dict[str, Any]: ...
    def close(self) -> None: ...


class _Described:
    def __init__(self, folder: Path, manifest: PackageManifest) -> None:
        self.manifest = manifest
        self._properties: dict[tuple[str, str], Properties] = {
            (kind, symbol): read_properties(folder, FOLDERS[kind], symbol)
            for kind, symbol in manifest.symbols
        }

    def filled(self, kind: str, symbol: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        return fill(self._properties.get((kind, symbol), {}), properties)


class ProcessRuntime(_Described):
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
        self.process = PluginProcess(
            manifest.name,
            folder,
            manifest_name,
            narrowed(policy.limits, manifest.limits),
            policy.worker_uid,
            policy.allow_root,
            on_crash,
            policy.writable,
        )
        self.process.start()

    def make(self, kind: str, symbol: str) -> Any:
        if (kind, symbol) not in self.manifest.symbols:
            raise PluginError(f"{self.manifest.name} {self.manifest.version} has no {kind} {symbol!r}")
        if kind not in REMOTES:
            from opq_plugins.host.remote_judging import JUDGING  # and NumPy with it

            REMOTES.update(JUDGING)
        return REMOTES[kind](self.process, symbol)

    def replays(self, symbol: str) -> bool:
        return symbol in self.process.facts.get("replay", ())

    def status(self) -> dict[str, Any]:
        return self.process.status()

    def close(self) -> None:
        self.process.close()


class InProcessRuntime(_Described):
    """In the server's process: no wall around it, no cost either. For what the policy trusts."""

    mode = "inproc"

    def __init__(self, folder: Path, manifest: PackageManifest) -> None:
        if manifest.language != "python" or manifest.portable:
            raise PluginError(f"{manifest.name}: only Python of our own form runs in the server's process")
        super().__init__(folder, manifest)
        self._folder = folder
        self._factories = python_code.load_python(folder, manifest)

    def make(self, kind: str, symbol: str) -> Any:
        factory = self._factories.get((kind, symbol))
        if factory is None:
            raise PluginError(f"{self.manifest.name} {self.manifest.version} has no {kind} {symbol!r}")
        return factory()

    def replays(self, symbol: str) -> bool:
        return ("source", symbol) in self._factories and replays(self._factories["source", symbol])

    def status(self) -> dict[str, Any]:
        return {"status": "running", "errMsg": "", "pid": 0, "protections": {}, "crashes": 0}

    def close(self) -> None:
        python_code.forget(self._folder, self.manifest)


def rehearse(runtime: Runtime) -> None:
    """What only judges is begun with its defaults, unless it has none. PluginError: it cannot begin."""
    for kind, symbol in runtime.manifest.symbols:
        if kind not in python_code.JUDGING:
            continue
        live = runtime.make(kind, symbol)
        try:
            live.configure(runtime.filled(kind, symbol, {}))
        except ValueError:  # it wants settings
            continue
        except (OpqError, OSError) as error:
            raise PluginError(f"{kind} {symbol!r}: {error}") from error
        except Exception as error:  # foreign code
            raise PluginError(f"{kind} {symbol!r}: {type(error).__name__}: {error}") from error
        finally:
            live.release()


def narrowed(limits: Limits, wanted: Mapping[str, int | float]) -> Limits:
    """The manifest may take less than the policy gives, never more."""
    allowed = {each.name: getattr(limits, each.name) for each in fields(limits)}
    less = {key: min(value, allowed[key]) if allowed[key] else value for key, value in wanted.items()}
    return replace(limits, **{key: type(allowed[key])(value) for key, value in less.items()})
