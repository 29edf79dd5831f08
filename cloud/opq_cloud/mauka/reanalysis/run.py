"""One re-analysis from its order to its report: as `opq-tools reanalyse` runs it.

Built-in analyses run in processes of this machine or on a Dask scheduler's workers, installed ones always
here, in processes of their own where Mauka's policy does not trust them.
"""

import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.mauka.bulk.run import chosen_executor
from opq_cloud.mauka.bulk.stored_events import BulkWork, analyse_in_bulk
from opq_cloud.mauka.measuring.clock_alignment import stamped
from opq_cloud.mauka.reanalysis.changes import Reanalysis, ReanalysisReport, events_to_replace
from opq_cloud.mauka.reanalysis.report_json import report_json
from opq_cloud.mauka.running.built_in_analyses import built_in, load_analyses
from opq_cloud.mauka.running.event_analysis import (
    EventResult,
    analyse_event,
    analyse_stored,
    nominal_of_box,
    place_of_box,
    with_wiring,
)
from opq_cloud.mauka.running.installed_analyses import KIND, InstalledAnalysis
from opq_cloud.mauka.running.provenance import Provenance, provenance_of, settings_hash
from opq_cloud.mauka.service import analysis_entries, policy_of, rules_folder
from opq_cloud.store import CloudStore
from opq_plugins.host.following import Following
from opq_plugins.policy import Policy
from opq_proto.decision import Nominal
from opq_proto.errors import OpqError
from opq_proto.kit.system_place import default_data_dir
from opq_proto.kit.whole_file import open_private, private_folder
from opq_proto.messages import Event, Finding

FOLDER = "reanalysis"
MAX_EVENTS = 100_000
DRY_RUN = "dry-run-"
"""Prefix of the file of a dry run."""
Changes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReanalysisOrder:
    """What a re-analysis is to do, as `opq-tools reanalyse` gives it.

    Attributes:
        start_ns, end_ns: events of this span.
        names: only these analyses; empty: all that are built in or installed.
        changed: analysis -> settings that differ from the configuration's.
    """

    start_ns: int
    end_ns: int | None = None
    dry_run: bool = True
    names: tuple[str, ...] = ()
    changed: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


class BulkProgress:
    """The finished part of a long run, in a file next to the store, so that the run can be resumed.

    It has a line for each group of events that was replaced, with the changes: so the report of a resumed run
    is that of the whole. The file belongs to one choice of analyses, versions and settings. It is deleted
    when the run is over, or when a run of another choice begins, which replaces the results of this one. A
    dry run has a file of its own; a run that writes deletes it. One process at a time writes a file.
    """

    def __init__(self, data_dir: Path, sources: Sequence[Provenance], dry_run: bool = False) -> None:
        """Opens the file of these analyses and deletes those of others.

        Raises:
            OSError: the folder cannot be made, or the file cannot be read.
        """
        named = {one.analysis: f"{one.version} {one.settings_hash}" for one in sources}
        kind = DRY_RUN if dry_run else ""
        self.path = data_dir / "mauka" / FOLDER / f"{kind}{settings_hash(named)}.jsonl"
        private_folder(self.path.parent)
        for other in {*self.path.parent.glob(f"{kind}*.jsonl")} - {self.path}:
            other.unlink(missing_ok=True)
        self._done: set[int] = set()
        self._results: list[tuple[list[int], Changes]] = []
        text = self.path.read_text() if self.path.exists() else ""
        for line in text.splitlines(keepends=True):
            if line.endswith("\n"):  # otherwise the process ended while it wrote the line
                self._note(json.loads(line))
        if text and not text.endswith("\n"):
            self.path.write_text(text[: text.rfind("\n") + 1])

    def is_done(self, event_ids: Sequence[int]) -> bool:
        """Returns True if all of these were done by an earlier run that did not end."""
        return self._done.issuperset(event_ids)

    def results_of(self, event_ids: Collection[int]) -> list[Changes]:
        """Returns the changes of these events, as `note_done` got them."""
        wanted = frozenset(event_ids)
        return [result for numbers, result in self._results if wanted.issuperset(numbers)]

    def note_done(self, event_ids: Sequence[int], result: Changes) -> None:
        """Notes that these were replaced and stored; `result` are the changes, as JSON."""
        line = {"events": list(event_ids), "said": dict(result)}
        with os.fdopen(open_private(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a") as file:
            file.write(json.dumps(line) + "\n")
        self._done.update(event_ids)

    def _note(self, line: Any) -> None:
        if isinstance(line, list):  # from an older version
            self._done.update(line)
            return
        self._done.update(line["events"])
        self._results.append((line["events"], line["said"]))

    def finish(self) -> None:
        """Removes the file: all is done, and the next run analyses everything again."""
        self.path.unlink(missing_ok=True)


MAX_REST_S = 5.0
"""Longest wait for an installed analysis that rests after a crash; then the event fails."""
Entry = tuple[str, dict[str, object]]
Showing = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Is called with the number of events; yields a function to call with the number of those that are done."""


class AnalysisChoiceError(OpqError):
    """A name that is no analysis, or one that is installed and does not run."""


def run_reanalysis(
    config: CloudConfig,
    store: CloudStore,
    order: ReanalysisOrder,
    scheduler: str | None = None,
    showing: Showing = lambda total: nullcontext(lambda done: None),
) -> ReanalysisReport:
    """Carries an order out, or finds what it would change.

    Args:
        config: of the cloud with this store: analyses, settings, nominal values, folders.
        scheduler: Dask scheduler for built-in analyses.
    Raises:
        AnalysisChoiceError: unknown name; the text lists the possible ones.
        OpqError: the store, the scheduler or a setting.
    """
    own = built_in()
    configured = {name: dict(values) for name, values in analysis_entries(config.mauka, own)}
    settings = {
        name: {**configured.get(name, {}), **order.changed.get(name, {})}
        for name in {*configured, *order.changed}
    }
    report = ReanalysisReport()
    wanted = frozenset(order.names) - own if order.names else None
    with _installed(config, settings, own, wanted) as installed:
        report.not_run.update(installed.not_run)
        _check(order, own, installed)
        built = {name for name in configured if name in own} or own
        names = sorted(built.intersection(order.names) if order.names else built)
        entries = [(name, settings.get(name, {})) for name in names]
        _run(config, store, order, report, entries, installed.analyses, scheduler, showing)
    return report


INDEX = "plugins"
"""Key for the list of installed analyses, where it cannot be read."""


@dataclass(frozen=True, slots=True)
class InstalledNow:
    """`analyses`: running ones; `names`: all installed ones; `not_run`: those that do not start -> why."""

    analyses: tuple[InstalledAnalysis, ...] = ()
    names: tuple[str, ...] = ()
    not_run: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def installed_now(
    folder: Path,
    policy: Policy,
    settings: Mapping[str, Mapping[str, object]],
    built_in: Collection[str],
    wanted: Collection[str] | None = None,
) -> Iterator[InstalledNow]:
    """Starts installed analyses, each in its current version until the run ends.

    `InstalledAnalyses` follows the host for years; here it is read once, and nothing is reported to
    Makai's host: a run next to the cloud changes nothing that runs in it. The analyses are in processes of
    their own where the policy does not trust them, and end afterwards.

    Args:
        folder: of Makai's host (`rules_folder`); there are none if it does not exist.
        settings: of installed analyses, by name; others have their defaults.
        built_in: names that are already in use.
        wanted: only these; None: all.
    """
    with ExitStack() as opened:
        following = Following(folder, {KIND}, policy)
        opened.callback(following.close)
        following.poll()
        not_run = dict(following.troubles())
        if following.problem:
            not_run[INDEX] = following.problem
        found = []
        names = tuple(sorted(following.types(KIND)))
        for name in names:
            if name in built_in:
                not_run[name] = f"analysis {name!r} is built in: the installed one needs another name"
            elif wanted is None or name in wanted:
                own = settings.get(name, {})
                try:
                    plugin = following.analysis(name)()
                    opened.callback(plugin.close)
                    plugin.configure(own)
                except (OpqError, ValueError, OSError) as error:
                    not_run[name] = f"analysis {name!r} does not start: {error}"
                else:
                    found.append(InstalledAnalysis(name, plugin, own))
        yield InstalledNow(tuple(found), names, not_run)


def _installed(
    config: CloudConfig,
    settings: Mapping[str, Mapping[str, object]],
    own: frozenset[str],
    wanted: frozenset[str] | None,
) -> AbstractContextManager[InstalledNow]:
    section = config.mauka.plugins
    if not section.enabled or wanted == frozenset():
        return nullcontext(InstalledNow())
    return installed_now(rules_folder(config), policy_of(section), settings, own, wanted)


def _check(order: ReanalysisOrder, own: frozenset[str], installed: InstalledNow) -> None:
    running = own | {one.name for one in installed.analyses}
    for name in sorted({*order.names, *order.changed} - running):
        if name in installed.not_run:
            raise AnalysisChoiceError(f"{name!r} is installed and does not run: {installed.not_run[name]}")
        known = ", ".join(sorted({*running, *installed.names}))
        raise AnalysisChoiceError(f"{name!r} is no analysis of this version; there are {known}")


def _run(
    config: CloudConfig,
    store: CloudStore,
    order: ReanalysisOrder,
    report: ReanalysisReport,
    entries: Sequence[Entry],
    installed: Sequence[InstalledAnalysis],
    scheduler: str | None,
    showing: Showing,
) -> None:
    data_dir = config.store.data_dir or config.data_dir or default_data_dir()
    analyses = load_analyses(entries) if entries else []
    sources = [*map(provenance_of, analyses), *(one.provenance for one in installed)]
    progress = BulkProgress(data_dir, sources, order.dry_run)
    groups = events_to_replace(store, order.start_ns, order.end_ns, MAX_EVENTS, report)
    numbers = [[each.event_id for each in group] for group in groups]
    done = {number for each in numbers if progress.is_done(each) for number in each}
    groups = [group for group in groups if group[0].event_id not in done]
    report.earlier, before = progress.results_of(done), len(done)
    event_ids = [each.event_id for group in groups for each in group]
    ran = frozenset(one.analysis for one in sources)
    replacing = Reanalysis(store, ran, ran >= built_in(), report, order.dry_run)
    work = BulkWork.of(config.store.mongo_uri, data_dir, entries, config.nominal)
    waiting = [_Awaited(one) for one in installed]

    def on_replaced(numbers: Sequence[int], changes: ReanalysisReport) -> None:
        progress.note_done(numbers, report_json(changes, order.dry_run))

    with showing(before + len(event_ids)) as show_all:

        def show(done: int) -> None:
            show_all(before + done)

        show(0)
        if not entries:
            results = analyse_stored(store, event_ids, waiting, config.nominal)
            replacing.replace_groups(groups, results, show, on_replaced)
        else:
            with chosen_executor(scheduler, config.mauka.workers) as executor:
                built_in_found = analyse_in_bulk(executor, work, event_ids)
                found = _with_installed(built_in_found, store, waiting, config.nominal)
                replacing.replace_groups(groups, found, show, on_replaced)
    progress.finish()


class _Awaited:
    """An installed analysis; a call waits while it rests after a crash."""

    def __init__(self, analysis: InstalledAnalysis) -> None:
        self._analysis = analysis
        self.name = analysis.name

    @property
    def alone(self) -> bool:
        return self._analysis.alone

    @property
    def provenance(self) -> Provenance:
        return self._analysis.provenance

    def findings_in(self, event: Event, nominal: Nominal, states: dict[Any, Any]) -> tuple[Finding, ...]:
        """Returns the analysis' findings, after a rest that leaves other work its share of the machine."""
        time.sleep(min(self._analysis.rest_s, MAX_REST_S))
        return self._analysis.findings_in(event, nominal, states)


def _with_installed(
    results: Iterable[EventResult], store: CloudStore, installed: Sequence[_Awaited], otherwise: Nominal
) -> Iterator[EventResult]:
    """Yields the results of the workers with the findings of installed analyses added."""
    states: dict[Any, Any] = {}
    for result in results:
        event = store.event(result.event_id) if installed else None
        if event is None or not result.box_ids:
            yield result
            continue
        event = with_wiring(event, partial(place_of_box, store))
        more = analyse_event(
            event, installed, lambda box_id: nominal_of_box(store, box_id, otherwise), states
        )
        by = {one.box_id: one.alignment for one in result.findings if one.alignment is not None}
        yield replace(
            result,
            findings=(*result.findings, *stamped(more.findings, by)),
            failed={**result.failed, **more.failed},
        )
