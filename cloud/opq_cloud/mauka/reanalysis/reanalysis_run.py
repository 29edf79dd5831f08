"""One re-analysis from its order to its report: as `opq-tools reanalyse` runs it.

Built-in analyses run in processes of this machine or on a Dask scheduler's workers, installed ones always
here, in processes of their own where Mauka's policy does not trust them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.mauka.bulk.bulk_run import chosen_executor
from opq_cloud.mauka.bulk.stored_events import BulkWork, analyse_in_bulk
from opq_cloud.mauka.mauka_service import policy_of, rules_folder
from opq_cloud.mauka.reanalysis.changes import Reanalysis, ReanalysisReport, events_to_replace
from opq_cloud.mauka.reanalysis.installed_now import (
    AwaitedAnalysis,
    InstalledNow,
    installed_now,
    with_installed,
)
from opq_cloud.mauka.reanalysis.reanalysis_progress import ReanalysisProgress
from opq_cloud.mauka.reanalysis.report_json import report_json
from opq_cloud.mauka.running.calls.event_analysis import analyse_stored
from opq_cloud.mauka.running.known.analysis_entries import analysis_entries
from opq_cloud.mauka.running.known.built_in_analyses import built_in, load_analyses
from opq_cloud.mauka.running.known.provenance import provenance_of
from opq_cloud.store import CloudStore
from opq_proto.errors import OpqError
from opq_proto.kit.system_place import default_data_dir

MAX_EVENTS = 100_000


@dataclass(frozen=True, slots=True)
class ReanalysisOrder:
    """The order of a re-analysis, as `opq-tools reanalyse` gives it.

    Attributes:
        start_ns, end_ns: events of this span.
        names: only these analyses; empty: all that are built in or installed.
        changed: analysis -> settings that differ from the configuration's.
        present_nominal: judge by the nominal values that each Box has now, instead of those that the start of
            the samples stated.
    """

    start_ns: int
    end_ns: int | None = None
    dry_run: bool = True
    names: tuple[str, ...] = ()
    changed: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    present_nominal: bool = False


Entry = tuple[str, dict[str, object]]
Showing = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Is called with the number of events; yields a function to call with the number of those that are done."""


class AnalysisChoiceError(OpqError):
    """A name that is not an analysis, or one that is installed and does not run."""


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
        raise AnalysisChoiceError(f"{name!r} is not an analysis of this version; there are {known}")


def _run(
    config: CloudConfig,
    store: CloudStore,
    order: ReanalysisOrder,
    report: ReanalysisReport,
    entries: Sequence[Entry],
    installed: Sequence[AwaitedAnalysis],
    scheduler: str | None,
    showing: Showing,
) -> None:
    data_dir = config.store.data_dir or config.data_dir or default_data_dir()
    analyses = load_analyses(entries) if entries else []
    sources = [*map(provenance_of, analyses), *(one.provenance for one in installed)]
    progress = ReanalysisProgress(data_dir, sources, order.dry_run, order.present_nominal)
    groups = events_to_replace(store, order.start_ns, order.end_ns, MAX_EVENTS, report)
    numbers = [[each.event_id for each in group] for group in groups]
    done = {number for each in numbers if progress.is_done(each) for number in each}
    groups = [group for group in groups if group[0].event_id not in done]
    report.earlier, before = progress.results_of(done), len(done)
    event_ids = [each.event_id for group in groups for each in group]
    ran = frozenset(one.analysis for one in sources)
    replacing = Reanalysis(store, ran, ran >= built_in(), report, order.dry_run)
    present = order.present_nominal
    work = BulkWork.of(config.store.mongo_uri, data_dir, entries, config.nominal, present_nominal=present)

    def on_replaced(numbers: Sequence[int], changes: ReanalysisReport) -> None:
        progress.note_done(numbers, report_json(changes, order.dry_run))

    with showing(before + len(event_ids)) as show_all:

        def show(done: int) -> None:
            show_all(before + done)

        show(0)
        if not entries:
            results = analyse_stored(store, event_ids, installed, config.nominal, present_nominal=present)
            replacing.replace_groups(groups, results, show, on_replaced)
        else:
            with chosen_executor(scheduler, config.mauka.workers) as executor:
                built_in_found = analyse_in_bulk(executor, work, event_ids)
                found = with_installed(built_in_found, store, installed, config.nominal, present)
                replacing.replace_groups(groups, found, show, on_replaced)
    progress.finish()
