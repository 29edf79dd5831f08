"""What a host tells of an installed plug-in, as JSON. It reads the books as they are, and changes nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opq_plugins.host.actives import Actives
from opq_plugins.host.register import Register
from opq_plugins.host.report import Report
from opq_plugins.package.store import Store
from opq_plugins.worker.python_code import JUDGING


class Particulars:
    """`trouble`: plug-in -> what is wrong with it. Readers do not wait for an installation."""

    def __init__(
        self, store: Store, register: Register, active: Actives, report: Report, trouble: Mapping[str, str]
    ) -> None:
        self._store, self._register, self._active = store, register, active
        self._report, self._trouble = report, trouble

    def description(self, kind: str, owner: str, name: str) -> dict[str, Any] | None:
        """Of `owner`'s symbol `name`, or for "portable" of itself. None: it is not there."""
        manifest = self._register.manifests.get(owner)
        if manifest is None:
            current = self._store.currents().get(owner)
            return None if current is None else {"name": owner, "version": current[0]}
        if kind == "portable":
            return manifest.as_json()
        told: dict[str, Any] = {"name": name, "version": str(manifest.version)}
        if kind == "analysis":
            told |= self._report.of(manifest)
        return told

    def status(self, name: str, used_by: Callable[[str, str], Sequence[str]]) -> dict[str, Any] | None:
        """None: it is not there. `used_by`: as `Plugins` has it."""
        current, versions = self._store.currents().get(name), self._store.versions(name)
        if current is None or current[0] not in versions:  # it may be just being deleted
            return None
        active = self._active.get(name)
        runtime = active.runtime if active else None
        manifest = self._register.manifests.get(name)
        symbols = manifest.symbols if manifest else ()
        elsewhere = manifest is not None and all(kind in JUDGING for kind, _ in symbols)
        idle = {"status": "installed" if elsewhere else "initializing", "errMsg": "", "pid": 0}
        told: dict[str, Any] = runtime.status() if runtime is not None else idle
        # also those whose sink has had nothing to do yet
        rules = {user: 1 for kind, symbol in symbols if kind != "source" for user in used_by(kind, symbol)}
        told |= {
            "refCount": rules | (active.references() if active else {}),
            "name": name,
            "version": current[0],
            "previous": current[1],
            "versions": list(versions),
            "signed_by": versions[current[0]].signed_by,
            "mode": runtime.mode if runtime is not None else None,
            "calls": active.calls if active else 0,
            "failures": active.failures if active else 0,
        }
        if manifest is not None and manifest.of_kind("analysis"):
            there = self._report.of(manifest)
            told |= there if runtime is None else {"running": there["running"]}
            if there["status"] == "error":  # else the rest of it runs, where there is no Mauka
                told["errMsg"] = told["errMsg"] or there["errMsg"]
        if trouble := self._trouble.get(name):
            told["errMsg"] = trouble
            told["status"] = told["status"] if runtime is not None else "error"
        return told
