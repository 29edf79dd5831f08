"""One re-analysis from its order to its report: for `opq-tools reanalyse` and for jobs of the API alike.

Built-in analyses run here or on a Dask scheduler's workers, installed ones always here, in processes of
their own where Mauka's policy does not trust them.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from opq_cloud.config import CloudConfig
from opq_cloud.mauka.built_in_analyses import built_in, load_analyses
from opq_cloud.mauka.bulk import BulkWork
from opq_cloud.mauka.bulk_progress import BulkProgress
from opq_cloud.mauka.bulk_run import chosen_analysis
from opq_cloud.mauka.clock_alignment import stamped
from opq_cloud.mauka.event_analysis import (
    EventResult,
    InstalledOne,
    analyse_event,
    analyse_stored,
    nominal_of_box,
    place_of_box,
    with_wiring,
)
from opq_cloud.mauka.installed_analyses import InstalledAnalysis
from opq_cloud.mauka.installed_now import InstalledNow, installed_now
from opq_cloud.mauka.provenance import Provenance, provenance_of
from opq_cloud.mauka.reanalysis import Reanalysis, ReanalysisReport, events_to_replace
from opq_cloud.mauka.reanalysis_json import report_json
from opq_cloud.mauka.service import analysis_entries, policy_of, rules_folder
from opq_cloud.reanalysis_order import ReanalysisOrder
from opq_cloud.store import CloudStore
from opq_plugins.sdk.modules import Analysis
from opq_proto.config import default_data_dir
from opq_proto.decision import Nominal
from opq_proto.errors import OpqError
from opq_proto.messages import Event, Finding

REST_MOST_S = 5.0
"""An installed analysis that rests after a crash is waited for so long; then the event fails."""
Entry = tuple[str, dict[str, object]]
Showing = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Is called with how many events there are, and gives a function to call with how many are done."""


class AnalysisChoiceError(OpqError):
    """A name that is no analysis, or one that is installed and does not run."""


def run_reanalysis(
    config: CloudConfig,
    store: CloudStore,
    order: ReanalysisOrder,
    scheduler: str | None = None,
    showing: Showing = lambda total: nullcontext(lambda done: None),
) -> ReanalysisReport:
    """Carry an order out, or look at what it would change.

    Args:
        config: of the cloud whose store this is: analyses, settings, nominal values, folders.
        scheduler: of Dask, for built-in analyses.

    Raises:
        AnalysisChoiceError: with what there is.
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
    progress = None if order.dry_run else BulkProgress(data_dir, sources)
    groups = events_to_replace(store, order.start_ns, order.end_ns, order.most_events, report)
    before = 0
    if progress is not None:
        numbers = [[each.event_id for each in group] for group in groups]
        done = {number for each in numbers if progress.is_done(each) for number in each}
        groups = [group for group in groups if group[0].event_id not in done]
        report.earlier, before = progress.said_of(done), len(done)
    event_ids = [each.event_id for group in groups for each in group]
    ran = frozenset(one.analysis for one in sources)
    replacing = Reanalysis(store, ran, ran >= built_in(), report, order.dry_run)
    work = BulkWork.of(config.store.mongo_uri, data_dir, entries, config.nominal)
    waiting = [_Awaited(one) for one in installed]

    def on_replaced(numbers: Sequence[int], changes: ReanalysisReport) -> None:
        if progress is not None:
            progress.note_done(numbers, report_json(changes, dry_run=False))

    with showing(before + len(event_ids)) as show_all:

        def show(done: int) -> None:
            show_all(before + done)

        show(0)
        if scheduler is None or not entries:
            every: list[Analysis | InstalledOne] = [*analyses, *waiting]
            results = analyse_stored(store, event_ids, every, config.nominal)
            replacing.replace_groups(groups, results, show, on_replaced)
        else:
            with chosen_analysis(store, scheduler, work) as analyse:
                found = _with_installed(analyse(event_ids), store, waiting, config.nominal)
                replacing.replace_groups(groups, found, show, on_replaced)
    if progress is not None:
        progress.finish()


class _Awaited:
    """An installed analysis that is waited for while it rests after a crash."""

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
        """As its own."""
        time.sleep(min(self._analysis.rest_s, REST_MOST_S))
        return self._analysis.findings_in(event, nominal, states)


def _with_installed(
    results: Iterable[EventResult], store: CloudStore, installed: Sequence[_Awaited], otherwise: Nominal
) -> Iterator[EventResult]:
    """What workers elsewhere gave, with what installed analyses find here."""
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
