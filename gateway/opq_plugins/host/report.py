"""Mauka's host reports the state of its analyses to the host where they were installed, for its REST answers.

The report is one small file in the folder of the installing host: the follower writes it, all or nothing, and
the installing host reads it for its answers.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from opq_plugins.package.manifest import PackageManifest
from opq_proto.kit.whole_file import PRIVATE_MODE, write_whole_file

FILE = "follower.json"
"""A file in `plugins/`; no plug-in can have this name."""
RENEWED_S = 5.0
"""Period at which a running follower renews its file."""
STALE_S = 30.0
"""An older file is ignored."""
MAX_BYTES = 1 << 20
MAX_TEXT_CHARS = 2_000
"""Characters of one error text."""


class _Report(msgspec.Struct):
    """`versions`: analysis -> running version; `troubles`: plug-in or analysis -> what is wrong with it."""

    versions: dict[str, str]
    troubles: dict[str, str]


class FollowerReport:
    """`folder`: plugins/ of the installing host. One thread writes."""

    def __init__(
        self,
        folder: Path,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        time_s: Callable[[], float] = time.time,
    ) -> None:
        self._path = folder / FILE
        self._now, self._time = monotonic_s, time_s
        self._written = b""
        self._written_s = 0.0

    # -- for the follower

    def write(self, versions: Mapping[str, str], troubles: Mapping[str, str]) -> None:
        """Writes analysis -> running version, and plug-in or analysis -> its trouble. Raises OSError."""
        cut = {name: why[:MAX_TEXT_CHARS] for name, why in troubles.items()}
        text = msgspec.json.encode(_Report(dict(versions), cut))
        now_s = self._now()
        if text == self._written and now_s - self._written_s < RENEWED_S:
            return
        if not self._path.parent.is_dir():  # nothing was ever installed there
            return
        write_whole_file(self._path, [text], PRIVATE_MODE)
        self._written, self._written_s = text, now_s

    def withdraw(self) -> None:
        """Removes the report: this host no longer follows."""
        self._written = b""
        self._path.unlink(missing_ok=True)

    # -- for the installing host

    def of(self, manifest: PackageManifest) -> dict[str, str | None]:
        """The state of a plug-in's analyses. `running`: the version that runs; None: unknown.

        `status`: "running", "error" (Mauka reports a problem), else "installed"; `errMsg` gives the reason.
        """
        report = self._read()
        if isinstance(report, str):
            return {"running": None, "status": "installed", "errMsg": report}
        names, versions, troubles = manifest.of_kind("analysis"), report.versions, report.troubles
        running = next((versions[name] for name in names if name in versions), None)
        wrong = [troubles[name] for name in dict.fromkeys([manifest.name, *names]) if name in troubles]
        if wrong:
            return {"running": running, "status": "error", "errMsg": "; ".join(wrong)}
        if running != str(manifest.version):
            return {"running": running, "status": "installed", "errMsg": "Mauka has not taken it over yet"}
        return {"running": running, "status": "running", "errMsg": ""}

    def _read(self) -> "_Report | str":
        """The report, or why there is no valid one."""
        unknown = "whether it runs is not known"
        try:
            with open(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
                age_s = self._time() - os.fstat(file.fileno()).st_mtime
                report = msgspec.json.decode(file.read(MAX_BYTES), type=_Report)
        except FileNotFoundError:
            return "it does not run: no Mauka follows this folder"
        except (OSError, ValueError, RecursionError) as error:
            return f"{unknown}: {self._path.name} cannot be read: {error}"
        if abs(age_s) > STALE_S:  # also a file from the future, because a clock was set back
            return f"{unknown}: Mauka has reported nothing for {age_s:.0f} s"
        return report
