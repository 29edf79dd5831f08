"""The thread that keeps a gateway up to date: judges a trial, looks, downloads, builds, reports."""

import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Protocol

from opq_gateway.commands.orders import NO_UPDATES
from opq_gateway.software_version import software_version
from opq_gateway.update import decide
from opq_gateway.update.box_firmware import due, update_box
from opq_gateway.update.journal import UpdateFolder
from opq_gateway.update.trees import build, tree_tag
from opq_proto.kit import log
from opq_proto.kit.http_client import HttpClientError, send_request
from opq_proto.release.plan import NoReleaseError, Plan, ReleaseError, is_turn, version_key
from opq_proto.release.report import HEADER, Report, report_key, seal

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile

    from opq_gateway.gateway_status import BoxStatus

    # of the extra `update`, imported for the first look at a repository
    from opq_gateway.update.repository import Repository
    from opq_proto.firmware.transfer import OrderClient

CHECK_S = 0.5
REPORT_S = 10.0


def digest(release: "TargetFile") -> str:
    """A digest that names the bytes of a release."""
    return str(next(iter(release.hashes.values())))


class Stop(Protocol):
    """The stop event of a thread of the gateway."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class Updater:
    """One per gateway that has a repository, or is on trial."""

    def __init__(
        self,
        folder: UpdateFolder,
        repository: tuple[str, str],
        statuses: Mapping[str, "BoxStatus"],
        orders: "OrderClient",
        keys: tuple[bytes, bytes],
        end: Callable[[], object],
    ) -> None:
        """
        Args:
            repository: its address, and the group of this gateway in roll-outs.
            keys: the first Box's secret and the server's public one, for reports.
            end: stops the gateway, which its service manager starts again.
        """
        self.folder = folder
        self._url, self._group = repository[0].rstrip("/"), repository[1]
        self._gateway = next(iter(statuses), "")
        self._statuses, self._orders, self._keys, self._end = statuses, orders, keys, end
        self.judged = Event()
        """Set when nothing has to be written before the gateway ends; other interrupted work begins again."""
        self._asked = Event()
        """Set to look now."""
        self._firmware: dict[str, str] = {}
        self._tried = ""
        """The firmware version that was tried on the Boxes in `_firmware`."""
        self._log = log.get(service="update")

    def run(self, stop: Stop, on_trial: bool) -> None:
        """Judges a trial, then looks at the repository at intervals, until `stop`."""
        try:
            if on_trial and not self._judge(stop):
                return
        finally:
            self.judged.set()
        wait_s = decide.FIRST_S
        while self._url and not self._wait(stop, wait_s):
            self._asked.clear()
            is_open = self.look(stop)
            wait_s = (decide.OPEN_LOOK_S if is_open else decide.LOOK_S) * random.uniform(0.9, 1.1)

    def look_now(self) -> tuple[bool, str]:
        """Ends the wait for the next look; returns whether a look follows, and an answer in words. From any
        thread."""
        if not self._url:
            return False, NO_UPDATES
        self._asked.set()
        return True, f"the gateway looks at {self._url} now, and reports there"

    def _wait(self, stop: Stop, wait_s: float) -> bool:
        """Until `stop` (True), the end of the wait, or `look_now`."""
        until_s = time.monotonic() + wait_s
        while not self._asked.is_set():
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return stop.is_set()
            if stop.wait(min(left_s, CHECK_S)):
                return True
        return stop.is_set()

    def _judge(self, stop: Stop) -> bool:
        """Whether this version has passed its trial; the link then names it."""
        journal, began_s, since_s = self.folder.read(), time.monotonic(), time.monotonic()
        while not stop.wait(CHECK_S):
            now_s = time.monotonic()
            lacks = decide.missing(journal, self._well(), self._acknowledged())
            since_s = now_s if lacks else since_s
            if now_s - since_s >= decide.STEADY_S:
                try:
                    self.folder.point(self.folder.tree(journal.tree))
                    self.folder.write(decide.settled(journal))
                except OSError as error:
                    lacks = f"the link cannot be moved: {self._words(error)}"
                else:
                    after_s = round(now_s - began_s, 1)
                    self._log.info("update.confirmed", version=journal.version, after_s=after_s)
                    return True
            if now_s - began_s >= decide.TRIAL_S:
                self._log.error("update.failed", version=journal.version, reason=lacks)
                try:
                    self.folder.write(decide.failed(journal, f"after {decide.TRIAL_S:g} s {lacks}"))
                finally:  # on a full disk the next start finds a trial that ended without a verdict
                    self._end()
                return False
        self.folder.write(decide.put_off(journal))
        return False

    def _well(self) -> tuple[str, ...]:
        now_s = time.monotonic()
        return tuple(each.box_id for each in self._statuses.values() if each.problem(now_s) is None)

    def _acknowledged(self) -> tuple[str, ...]:
        found = (each for each in self._statuses.values() if each.acknowledged_monotonic_s is not None)
        return tuple(each.box_id for each in found)

    def look(self, stop: Stop) -> bool:
        """Looks at the repository once, installs what is due, and reports.

        Returns whether this gateway waits for its turn in a roll-out.
        """
        try:
            from opq_gateway.update.repository import Repository
        except ModuleNotFoundError as error:
            why = f"this needs {error.name}: pip install 'opq-toolkit[update]'"
            self._log.error("update.not_installed", reason=why)
            return False
        is_open = False
        report = Report(self._gateway, software_version(), 0, group=self._group)
        try:
            repository = Repository(self._url, self.folder)
            repository.refresh()
            plan = repository.plan("gateway")
            if plan is not None:
                report = self._by_plan(repository, plan, report)
                newer = version_key(plan.version) > version_key(report.version)
                may_come = newer and decide.is_open(plan, self._gateway, self._group)
                is_open = report.state == "waiting" and may_come
            if report.state != "trying" and (firmware := repository.plan("firmware")) is not None:
                is_open |= self._update_boxes(repository, firmware, stop)
        except (ReleaseError, OSError) as error:
            why = self._words(error)
            self._log.warning("update.refused", reason=why)
            report = replace(report, state="waiting", reason=why)
        self._send(report)
        if report.state == "trying":
            self._end()
        return is_open

    def _by_plan(self, repository: "Repository", plan: Plan, report: "Report") -> "Report":
        """Installs the plan's version if it is due; returns the report."""
        journal = self.folder.read()
        report = replace(report, wanted=plan.version)
        why = decide.refusal(plan, report.version, journal, self._gateway, self._group)
        if why:
            state = "failed" if plan.version in journal.refused else "waiting"
            return replace(report, state="well" if plan.version == report.version else state, reason=why)
        if not self.folder.link.is_symlink():
            why = f"{self.folder.link} is missing; make it with: opq-tools service install gateway"
            return replace(report, state="waiting", reason=why)
        try:
            release = repository.release("gateway", plan.version, tree_tag())
        except NoReleaseError as error:
            return replace(report, state="well", reason=str(error))
        if why := journal.refused.get(digest(release), ""):
            return replace(report, state="failed", reason=why)
        name = decide.other_tree(self.folder.linked)
        repository.fetch(release, self.folder.bundle)
        try:
            build(self.folder, name, plan.version)
        except (ReleaseError, OSError) as error:
            why = self._words(error)
            self._log.error("update.not_built", version=plan.version, reason=why)
            if isinstance(error, ReleaseError):  # a full disk may have room at the next look
                self._refuse(release, why)
            waits = isinstance(error, BlockingIOError)  # for a build that an earlier gateway began
            return replace(report, state="waiting" if waits else "failed", reason=why)
        well, acknowledged = self._well(), self._acknowledged()
        ready = decide.Journal(decide.READY, name, plan.version, 0, "", well, acknowledged, journal.refused)
        self.folder.write(ready)
        self._log.info("update.built", version=plan.version, tree=name)
        return replace(report, state="trying")

    def _words(self, error: Exception) -> str:
        if isinstance(error, OSError):
            return f"{error.filename or self.folder.path}: {error.strerror or error}"
        return str(error)

    def _update_boxes(self, repository: "Repository", plan: Plan, stop: Stop) -> bool:
        """Updates Boxes if it is this gateway's turn; returns whether Boxes wait for it."""
        if self._tried != plan.version:
            self._tried, self._firmware = plan.version, {}
        if not is_turn(plan, self._gateway, self._group):
            waiting = due(plan.version, self._statuses.values(), self._firmware)
            return bool(list(waiting)) and decide.is_open(plan, self._gateway, self._group)
        for box_id, hardware in due(plan.version, self._statuses.values(), self._firmware):
            try:
                release = repository.release("firmware", plan.version, hardware)
            except NoReleaseError as error:
                self._log.info("update.no_firmware", box_id=box_id, reason=str(error))
                continue
            if why := self.folder.read().refused.get(digest(release), ""):
                self._firmware[box_id] = why
            if stop.is_set() or any("failed" in ended for ended in self._firmware.values()):
                return False
            file = self.folder.path / "firmware.opqfw"
            repository.fetch(release, file)
            ended, not_kept = update_box(self._orders, box_id, file, plan.version)
            self._firmware[box_id] = ended
            self._log.info("update.firmware", box_id=box_id, ended=ended)
            file.unlink()
            if not_kept:  # firmware that did not arrive, or was not begun, is sent again after a start
                self._refuse(release, ended)
        return False

    def _refuse(self, release: "TargetFile", reason: str) -> None:
        """Notes that this release failed here, so that it is neither fetched nor tried again."""
        journal = self.folder.read()
        self.folder.write(replace(journal, refused={**journal.refused, digest(release): reason}))

    def _send(self, report: "Report") -> None:
        """Reports to an update server; another web server may refuse the report, which is not needed."""
        running = {each.box_id: each.hello.firmware for each in self._statuses.values() if each.hello}
        report = replace(report, at_ms=time.time_ns() // 1_000_000, firmware={**running, **self._firmware})
        body, header = seal(replace(report, reason=report.reason[:300]), report_key(*self._keys))
        with suppress(HttpClientError):
            send_request(f"{self._url}/report", REPORT_S, method="POST", body=body, headers={HEADER: header})
