"""What REST says of an installed plug-in, and what the host of Mauka reports of its analyses for that.

The report is one small file in the folder of the host that is followed: written by the one that follows,
all or nothing, and read by the other for its answers.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opq_plugins.host.factories import SymbolTable
from opq_plugins.host.running import RunningPlugins
from opq_plugins.package.manifest import PackageManifest
from opq_plugins.package.releases import ReleaseStore
from opq_plugins.worker.python_code import JUDGING

FILE = "follower.json"
"""In `plugins/`; no plug-in can be called so."""
RENEWED_S, STALE_S = 5.0, 30.0
"""The file of one that lives is touched so often; older than that, and it is not believed."""
MOST_BYTES = 1 << 20
LONGEST = 2_000
"""Characters of a trouble."""


class FollowerReport:
    """`folder`: plugins/ of the host that is followed. One thread writes."""

    def __init__(
        self,
        folder: Path,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        time_s: Callable[[], float] = time.time,
    ) -> None:
        self._path = folder / FILE
        self._now, self._time = monotonic_s, time_s
        self._written = ""
        self._written_s = 0.0

    # -- of the one that follows

    def write(self, versions: Mapping[str, str], troubles: Mapping[str, str]) -> None:
        """Analysis -> the version that runs; plug-in or analysis -> what is wrong with it. Raises OSError."""
        cut = {name: why[:LONGEST] for name, why in troubles.items()}
        text = json.dumps({"versions": dict(versions), "troubles": cut})
        now_s = self._now()
        if text == self._written and now_s - self._written_s < RENEWED_S:
            return
        if not self._path.parent.is_dir():  # nothing was ever installed there
            return
        new = self._path.with_suffix(".new")
        new.write_text(text)
        new.replace(self._path)
        self._written, self._written_s = text, now_s

    def withdraw(self) -> None:
        """It follows no more."""
        self._written = ""
        self._path.unlink(missing_ok=True)

    # -- of the one that is followed

    def of(self, manifest: PackageManifest) -> dict[str, Any]:
        """`running`: the version of this plug-in's analyses that runs; None: none that is known.

        `status` running, error (another version runs, or none, or with trouble), or installed: nothing is
        known of it; `errMsg` says why it is not running.
        """
        facts, why = self._read()
        if facts is None:
            return {"running": None, "status": "installed", "errMsg": why}
        names = manifest.of_kind("analysis")
        versions, troubles = facts
        running = next((versions[name] for name in names if name in versions), None)
        wrong = [troubles[name] for name in dict.fromkeys([manifest.name, *names]) if name in troubles]
        if wrong:
            return {"running": running, "status": "error", "errMsg": "; ".join(wrong)}
        if running != str(manifest.version):
            return {"running": running, "status": "installed", "errMsg": "Mauka has not taken it over yet"}
        return {"running": running, "status": "running", "errMsg": ""}

    def _read(self) -> tuple[tuple[dict[str, str], dict[str, str]] | None, str]:
        try:
            with open(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
                age_s = self._time() - os.fstat(file.fileno()).st_mtime
                raw = file.read(MOST_BYTES)
            facts = json.loads(raw)
            versions, troubles = facts["versions"], facts["troubles"]
        except FileNotFoundError:
            return None, "it runs nowhere: no Mauka follows this folder"
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            return None, f"whether it runs is not known: {self._path.name} cannot be read: {error}"
        if not _texts(versions) or not _texts(troubles):
            return None, f"whether it runs is not known: {self._path.name} is no report"
        if abs(age_s) > STALE_S:  # of the future: a clock was set back
            return None, f"whether it runs is not known: Mauka has told nothing for {age_s:.0f} s"
        return (versions, troubles), ""


def _texts(facts: object) -> bool:
    return isinstance(facts, dict) and all(isinstance(value, str) for value in facts.values())


class Descriptions:
    """`trouble`: plug-in -> what is wrong with it. Readers do not wait for an installation."""

    def __init__(
        self,
        store: ReleaseStore,
        symbols: SymbolTable,
        running: RunningPlugins,
        report: FollowerReport,
        trouble: Mapping[str, str],
    ) -> None:
        self._store, self._symbols, self._running_plugins = store, symbols, running
        self._report, self._trouble = report, trouble

    def description(self, kind: str, owner: str, name: str) -> dict[str, Any] | None:
        """Of `owner`'s symbol `name`, or for "portable" of itself. None: it is not there."""
        manifest = self._symbols.manifests.get(owner)
        if manifest is None:
            current = self._store.currents().get(owner)
            return None if current is None else {"name": owner, "version": current[0]}
        if kind == "portable":
            return manifest.as_json()
        facts: dict[str, Any] = {"name": name, "version": str(manifest.version)}
        if kind == "analysis":
            facts |= self._report.of(manifest)
        return facts

    def status(self, name: str, used_by: Callable[[str, str], Sequence[str]]) -> dict[str, Any] | None:
        """None: it is not there. `used_by`: as `Plugins` has it."""
        current, versions = self._store.currents().get(name), self._store.versions(name)
        if current is None or current[0] not in versions:  # it may be just being deleted
            return None
        running = self._running_plugins.get(name)
        runtime = running.runtime if running else None
        manifest = self._symbols.manifests.get(name)
        symbols = manifest.symbols if manifest else ()
        elsewhere = manifest is not None and all(kind in JUDGING for kind, _ in symbols)
        idle = {"status": "installed" if elsewhere else "initializing", "errMsg": "", "pid": 0}
        facts: dict[str, Any] = runtime.status() if runtime is not None else idle
        # also those whose sink has had nothing to do yet
        rules = {user: 1 for kind, symbol in symbols if kind != "source" for user in used_by(kind, symbol)}
        facts |= {
            "refCount": rules | (running.references() if running else {}),
            "name": name,
            "version": current[0],
            "previous": current[1],
            "versions": list(versions),
            "signed_by": versions[current[0]].signed_by,
            "mode": runtime.mode if runtime is not None else None,
            "calls": running.calls if running else 0,
            "failures": running.failures if running else 0,
        }
        if manifest is not None and manifest.of_kind("analysis"):
            there = self._report.of(manifest)
            facts |= there if runtime is None else {"running": there["running"]}
            if there["status"] == "error":  # else the rest of it runs, where there is no Mauka
                facts["errMsg"] = facts["errMsg"] or there["errMsg"]
        if trouble := self._trouble.get(name):
            facts["errMsg"] = trouble
            facts["status"] = facts["status"] if runtime is not None else "error"
        return facts
