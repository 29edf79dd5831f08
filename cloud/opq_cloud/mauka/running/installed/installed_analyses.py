"""Analyses that are installed at Makai and run here, from the moment of their installation, replaced live.

Makai's plug-in host may be in this process or in another one; its folder is read once a second. Changes
happen between two events: `InstalledStage` holds `steady` while one is analysed.
"""

import difflib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.mauka.running.calls.analysis_rests import AnalysisRests
from opq_cloud.mauka.running.known.provenance import Provenance, settings_hash
from opq_plugins.host.following import LACKING_AGAIN_S, Following
from opq_plugins.host.proxy import PluginAnalysis
from opq_plugins.host.report import FollowerReport
from opq_plugins.policy import Policy
from opq_plugins.sdk.nouns import BatchResult, Item, ItemBatch, boxes_of
from opq_plugins.worker_errors import ENDED, NOT_CALLED, WorkerAbsentError
from opq_proto.decision import Nominal
from opq_proto.errors import OpqError, PluginError
from opq_proto.kit import log as logs
from opq_proto.messages import Event, Finding, HistoryRequest, SampleRequest, Waveform

log = logs.get(service="mauka")

CHECK_S = 1.0
ANALYSIS_KIND = "analysis"
"""Kind of the plug-ins that this file follows."""
EVENT_NOUN = "Event"
"""The noun that an analysis of events takes."""
WHERE = {"inproc": "in process", "process": "worker"}
SLOW_S = 5.0
"""What raises after a longer call rests as what ended its process."""
NEXT_PROCESS_S = 10.0
"""How long a call waits for the next process of its plug-in, which starts at once after most ends."""

LARGEST_BYTES = 48 << 20
"""Limit of the counts in one call; a message to a worker has 64 MiB at most."""


class InstalledAnalysis:
    """An installed analysis, called like a built-in one and left alone while it fails.

    Its state is kept where it runs. Used by the runner's thread; `reset` by any.
    """

    def __init__(self, name: str, plugin: PluginAnalysis, settings: Mapping[str, object]) -> None:
        """`settings`: those it was configured with, without its own defaults."""
        self.name = name
        self._plugin = plugin
        self._settings_hash = settings_hash(settings)
        self._rests = AnalysisRests()
        self._raised = ""
        self._alone = False
        self.nouns = (EVENT_NOUN, "Finding")
        """What it takes and gives; set by `read_nouns`."""
        self.installed_ms = 0
        """When (UTC) its version was installed."""

    def read_nouns(self) -> None:
        """Reads what its version takes and gives; while its process does not answer, the last ones stay."""
        with suppress(OSError, ValueError, PluginError):
            self.nouns = self._plugin.declared()
            self._alone = self._plugin.alone()

    @property
    def trouble(self) -> str:
        """What its last calls raised, or why it or a Box rests; empty: it answers."""
        return self._rests.why or self._raised

    def reads(self) -> HistoryRequest:
        """Returns what its Histories have. Raises as `findings_in`."""
        with self._patience((), None):
            return self._plugin.reads()

    @property
    def rest_s(self) -> float:
        """Time until it may be called again, in seconds."""
        return self._rests.rest_s

    @property
    def has_rests(self) -> bool:
        """Whether some Box or event may rest."""
        return self._rests.some

    def rest_of(self, item: Item) -> tuple[float, str]:
        """Returns how long it is not called for the Boxes of an item, in s, and why."""
        return self._rests.rest_of(map(_box_key, boxes_of(item)))

    def rest_for(self, event: Event) -> float:
        """Returns how long it is not called for this whole event, in s."""
        return max(self._rests.rest_s, self._rests.rest_of(_keys(event))[0])

    def awake(self, parts: Iterable[tuple[Nominal, Event]]) -> list[tuple[Nominal, Event]]:
        """Returns what of an event it may be called for now: without Boxes that rest, where it takes Boxes
        alone, and without parts that rest."""
        if self._rests.rest_s:
            return []
        found = []
        for nominal, part in parts:
            if self._alone:
                waves = tuple(each for each in part.waveforms if not self._box_rests(each.box_id))
                part = part if len(waves) == len(part.waveforms) else replace(part, waveforms=waves)
            if part.waveforms and not self.rest_for(part):
                found.append((nominal, part))
        return found

    def _box_rests(self, box_id: str) -> bool:
        return self._rests.rest_of([_box_key(box_id)])[0] > 0

    @property
    def provenance(self) -> Provenance:
        """Provenance that the version that runs now writes into its findings."""
        return Provenance(self.name, self._plugin.version, self._settings_hash)

    @property
    def alone(self) -> bool:
        """Whether it may be called for one Box of an event; False while it rests."""
        return self._alone and not self.rest_s

    def findings_in(self, event: Event, nominal: Nominal, states: dict[Any, Any]) -> tuple[Finding, ...]:
        """Returns its findings. Raises WorkerAbsentError while it rests; otherwise whatever it raises."""
        with self._patience(_keys(event), self._cause(event)):
            found: list[Finding] = []
            for part in self._parts(event):
                found += self._plugin.analyse(part, nominal.volts, nominal.hz)
        return tuple(found)

    def results_of(self, batch: ItemBatch, nominal: Nominal) -> BatchResult:
        """Returns its results for single items. Raises as `findings_in`, except while a Box rests.

        One item alone that fails has its Box rest.
        """
        boxes = {box_id for item in batch.items for box_id in boxes_of(item)}
        cause = _box_key(min(boxes)) if len(batch.items) == 1 and len(boxes) == 1 else None
        with self._patience([], cause, map(_box_key, boxes)):
            return self._plugin.analyse_items(batch, nominal.volts, nominal.hz)

    @contextmanager
    def _patience(
        self, keys: Sequence[str], cause: str | None, answered: Iterable[str] | None = None
    ) -> Iterator[None]:
        """Has what caused it rest after a call that ended its process or failed late; notes what was raised.

        Args:
            keys: whose rest forbids the call.
            cause: who rests after it; None: no Box rests yet, because each is tried alone.
            answered: whose rest an answer ends, where that is more than `keys`.
        Raises:
            WorkerAbsentError: it rests.
        """
        key_s, why = self._rests.rest_of(keys)
        if rest_s := max(self._rests.rest_s, key_s):
            raise WorkerAbsentError(f"not called for {rest_s:.1f} s more: {why or self.trouble}")
        self._plugin.wait_up(NEXT_PROCESS_S)
        began_s = time.monotonic()
        try:
            yield
        except Exception as error:  # an analysis may raise any
            spent_s = time.monotonic() - began_s
            gone = isinstance(error, (*ENDED, *NOT_CALLED))
            self._raised = str(error) if gone else f"{type(error).__name__}: {error}"
            if isinstance(error, NOT_CALLED):
                cause = ""
            if cause is not None and (gone or spent_s > SLOW_S):
                self._rests.record_failure(cause, spent_s, self._raised)
            raise
        self._raised = ""
        self._rests.record_success(keys if answered is None else answered)

    def _cause(self, event: Event) -> str | None:
        """Returns who rests if a call for this event fails."""
        if len(event.waveforms) == 1:
            return _box_key(event.waveforms[0].box_id)
        return None if self._alone else f"event {event.event_id}"

    @property
    def asks(self) -> bool:
        """Whether it may request more samples; False while it rests, or where it does not answer."""
        if self.rest_s:
            return False
        try:
            return self._plugin.asks()
        except (OSError, ValueError, PluginError):
            return False

    def requests_in(
        self, event: Event, findings: Sequence[Finding], nominal: Nominal
    ) -> tuple[SampleRequest, ...]:
        """Returns its requests for samples; none for an event that is too large for a message."""
        if sum(wave.counts.nbytes for wave in event.waveforms) > LARGEST_BYTES:
            return ()
        with self._patience(_keys(event), self._cause(event)):
            return self._plugin.wants(event, list(findings), nominal.volts, nominal.hz)

    def _parts(self, event: Event) -> list[Event]:
        """Returns the event, or parts of it where it is too large for one message to a worker."""
        if sum(wave.counts.nbytes for wave in event.waveforms) <= LARGEST_BYTES or not self.alone:
            return [event]
        parts: list[list[Waveform]] = [[]]
        room = LARGEST_BYTES
        for wave in event.waveforms:
            if wave.counts.nbytes > room and parts[-1]:
                parts.append([])
                room = LARGEST_BYTES
            parts[-1].append(wave)
            room -= wave.counts.nbytes
        return [replace(event, waveforms=tuple(some)) for some in parts]

    def reset(self) -> None:
        """Ends all rests: another version has replaced it."""
        self._rests.clear()
        self._raised = ""

    def close(self) -> None:
        self._plugin.close()


def _box_key(box_id: str) -> str:
    return f"Box {box_id}"


def _keys(event: Event) -> list[str]:
    """Whose rest forbids a call for this event."""
    return [*(_box_key(each.box_id) for each in event.waveforms), f"event {event.event_id}"]


class InstalledAnalyses:
    """Counters: `taken` (a version of an analysis came into use), `gone`, and levels `unreadable_now`,
    `installed_now`.

    For the runner: `generation` rises with each change; `lacking` are installed ones that should run and
    cannot: without them no event is done.
    """

    name = "mauka.plugins"

    def __init__(
        self,
        data_dir: Path,
        policy: Policy,
        settings: Mapping[str, Mapping[str, object]],
        built_in: Collection[str],
        check_s: float = CHECK_S,
    ) -> None:
        """`settings` of installed analyses, by name; `built_in`: names that are already in use."""
        self.counters = ServiceCounters()
        self.generation = 0
        self.on_change: Callable[[], None] = lambda: None
        """Called after each change; must not wait."""
        self.lacking: frozenset[str] = frozenset()
        self._new_since_ms: int | None = None
        self._data_dir, self._policy = data_dir, policy
        self._report = FollowerReport(data_dir / "plugins")
        self._unreported = ""
        self._settings, self._built_in = settings, frozenset(built_in)
        self._check_s = check_s
        self._between = threading.RLock()
        self._checked = threading.Event()
        self._following: Following | None = None
        self._in_use: dict[str, InstalledAnalysis] = {}
        self._wrong: dict[str, tuple[str, float]] = {}
        """Analysis -> why it is not in use, and when to try again."""
        self._logged: dict[str, str] = {}
        self._takes: dict[str, str] = {}
        """Analysis -> what its last version that ran here took: no event waits for one of other nouns."""

    @contextmanager
    def steady(self) -> Iterator[tuple[InstalledAnalysis, ...]]:
        """Yields those of events in use; none changes until the end. Waits for the first check."""
        self._checked.wait()
        with self._between:
            yield tuple(one for one in self._in_use.values() if one.nouns[0] == EVENT_NOUN)

    @property
    def of_events(self) -> tuple[str, ...]:
        """Names of those in use that take events."""
        return tuple(one.name for one in self._in_use.values() if one.nouns[0] == EVENT_NOUN)

    def of_items(self) -> tuple[InstalledAnalysis, ...]:
        """Returns those in use that take single items and no events."""
        return tuple(one for one in self._in_use.values() if one.nouns[0] != EVENT_NOUN)

    def new_since_ms(self) -> int | None:
        """Returns when the first of the analyses that are new since the last call was installed (UTC, ms).

        None: none is new.
        """
        with self._between:
            since_ms, self._new_since_ms = self._new_since_ms, None
        return since_ms

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Runs until `stop`. Analyses in use stay with the runner; without its process they cannot run."""
        following = Following(
            self._data_dir, {ANALYSIS_KIND}, self._policy, between=self._between, on_change=self._changed
        )
        self._checked.clear()
        try:
            self._following = following
            for known in list(self._in_use):  # left over from an earlier run
                self._leave(known)
            while not stop.is_set():
                self._check(following)
                self._checked.set()
                self._report_to_host()
                if ready is not None:
                    ready.set()
                stop.wait(self._check_s)
        finally:
            self._checked.set()
            following.close()
            with suppress(OSError):
                self._report.withdraw()

    def status(self, of_items: bool | None = None) -> list[dict[str, object]]:
        """Returns a row for each in use: name, version, place, calls, crashes and pid of its worker.

        `of_items`: only those of single items, or (False) only those of events.
        """
        following, rows = self._following, []
        for name, analysis in self._in_use.items():
            if of_items is not None and of_items is (analysis.nouns[0] == EVENT_NOUN):
                continue
            state = following.status_of(ANALYSIS_KIND, name) if following is not None else {}
            rows.append(
                {
                    "name": name,
                    "version": state.get("version", ""),
                    "runs": WHERE.get(state.get("mode", ""), ""),
                    "calls": state.get("calls", 0),
                    "crashes": state.get("crashes", 0),
                    "pid": state.get("pid", 0),
                    "takes": [analysis.nouns[0]],
                    "gives": [analysis.nouns[1]],
                    "trouble": analysis.trouble or state.get("trouble") or None,
                }
            )
        return rows

    def kill(self, name: str) -> int:
        """Kills the process of an analysis, which is then restarted; returns its pid, 0 if it has none."""
        following = self._following
        return following.kill(ANALYSIS_KIND, name) if following is not None else 0

    def troubles(self) -> dict[str, str]:
        """Returns each analysis, installed or configured, that does not run as it should, and why."""
        following = self._following
        found = {"plugins": following.problem} if following and following.problem else {}
        found |= following.troubles() if following else {}
        wrong = self._wrong.copy()
        found |= {name: why for name, (why, _) in wrong.items()}
        if following is not None:
            for name in self._built_in.intersection(following.types(ANALYSIS_KIND)):
                found[name] = f"analysis {name!r} is built in: the installed one needs another name"
            for name in self._settings.keys() - self._in_use.keys() - wrong.keys():
                found[name] = f"analysis {name!r} is configured, but neither built in nor installed"
                if near := difflib.get_close_matches(name, [*self._built_in, *self._in_use], n=1):
                    found[name] += f'; did you mean "{near[0]}"?'
        return found

    def health(self) -> list[HealthReport]:
        """Returns one report for the whole, and one per installed analysis."""
        troubles = self.troubles()
        info = "; ".join(troubles.values()) or f"installed analyses: {len(self._in_use)}"
        parts = [HealthReport(self.name, not troubles, info=info)]
        for row in self.status():
            facts = f"{row['version']}, {row['runs']}, {row['calls']} calls"
            if trouble := row["trouble"]:
                facts += f"; {trouble}"
            parts.append(HealthReport(f"analysis {row['name']}", not trouble, info=facts))
        return parts

    # -- the service's own thread

    def _check(self, following: Following) -> None:
        following.poll()
        known = set(following.types(ANALYSIS_KIND)) - self._built_in
        for name in sorted(known - self._in_use.keys()):
            if name not in self._wrong or time.monotonic() >= self._wrong[name][1]:
                self._begin(following, name)
        self._wrong = {name: wrong for name, wrong in self._wrong.items() if name in known}
        unknown = [*following.lacking(), *self._wrong]
        lacking = frozenset(name for name in unknown if self._takes.get(name, EVENT_NOUN) == EVENT_NOUN)
        if lacking != self.lacking:
            with self._between:
                self.lacking = lacking
                self._note_change()
        self.counters.set("unreadable_now", following.unreadable)
        self.counters.set("installed_now", len(self._in_use))
        self._log_troubles()

    def _changed(self, kind: str, name: str) -> None:
        """Handles a change in the host; also called in the thread of a rollback."""
        following = self._following
        if kind != ANALYSIS_KIND or following is None:
            return
        if name not in following.types(ANALYSIS_KIND):
            self._leave(name)
        elif name in self._in_use:
            with self._between:
                self._in_use[name].reset()
                self._read_nouns(self._in_use[name])
                self._in_use[name].installed_ms = self._installed_ms(following, name)
                self._note_change()
            self._count(following, name)
        else:
            self._wrong.pop(name, None)  # the next lines of `_check` start it

    def _note_change(self) -> None:
        self.generation += 1
        self.on_change()

    def _begin(self, following: Following, name: str) -> None:
        settings = self._settings.get(name, {})
        try:
            plugin = following.analysis(name)()
            try:
                plugin.configure(settings)
            except BaseException:
                plugin.close()
                raise
        except (OpqError, ValueError, OSError) as error:
            self._wrong[name] = (
                f"analysis {name!r} is not in use: {error}",
                time.monotonic() + LACKING_AGAIN_S,
            )
            return
        self._wrong.pop(name, None)
        analysis = InstalledAnalysis(name, plugin, settings)
        analysis.installed_ms = installed_ms = self._installed_ms(following, name)
        self._read_nouns(analysis)
        with self._between:
            if analysis.nouns[0] == EVENT_NOUN:
                self._new_since_ms = min(installed_ms, self._new_since_ms or installed_ms)
            self._in_use = {**self._in_use, name: analysis}
            self._note_change()
        self._count(following, name)

    @staticmethod
    def _installed_ms(following: Following, name: str) -> int:
        return int(following.status_of(ANALYSIS_KIND, name).get("installed_ms", 0))

    def _read_nouns(self, analysis: InstalledAnalysis) -> None:
        analysis.read_nouns()
        self._takes[analysis.name] = analysis.nouns[0]

    def _leave(self, name: str) -> None:
        with self._between:
            gone = self._in_use.get(name)
            self._in_use = {its: one for its, one in self._in_use.items() if its != name}
            self._note_change()
            if gone is not None:
                gone.close()
                self.counters.add("gone", label=name)
                log.info("analysis.gone", analysis=name)

    def _count(self, following: Following, name: str) -> None:
        state = following.status_of(ANALYSIS_KIND, name)
        self.counters.add("taken", label=name)
        log.info("analysis.taken", analysis=name, version=state.get("version"), mode=state.get("mode"))

    def _report_to_host(self) -> None:
        """Reports to the host, whose REST shows which installed analyses run and which fail."""
        versions = {str(row["name"]): str(row["version"]) for row in self.status()}
        try:
            self._report.write(versions, self._failures())
        except OSError as error:
            if self._unreported != str(error):
                log.warning("analyses.not_reported", error=str(error))
            self._unreported = str(error)
        else:
            self._unreported = ""

    def _failures(self) -> dict[str, str]:
        """Returns `troubles`, and those in use that fail."""
        failing = {str(row["name"]): str(row["trouble"]) for row in self.status() if row["trouble"]}
        return failing | self.troubles()

    def _log_troubles(self) -> None:
        """Logs a line for each new trouble, and for its end."""
        troubles = self.troubles()
        for name, why in troubles.items():
            if self._logged.get(name) != why:
                log.warning("analysis.trouble", analysis=name, trouble=why)
        for name in self._logged.keys() - troubles.keys():
            log.info("analysis.trouble_over", analysis=name)
        self._logged = troubles
