"""Installed analyses in a re-analysis: each in its current version from the beginning to the end."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from opq_cloud.mauka.measuring.clock_alignment import stamped
from opq_cloud.mauka.running.calls.event_analysis import (
    EventResult,
    analyse_event,
    nominal_of_wave,
    place_of_box,
    with_wiring,
)
from opq_cloud.mauka.running.installed.installed_analyses import ANALYSIS_KIND, InstalledAnalysis
from opq_cloud.store import CloudStore
from opq_plugins.host.following import Following
from opq_plugins.policy import Policy
from opq_proto.decision import Nominal
from opq_proto.errors import OpqError
from opq_proto.messages import Event, Finding

INDEX = "plugins"
"""Key for the list of installed analyses, where it cannot be read."""
MAX_REST_S = 5.0
"""Longest wait for an installed analysis that rests after a crash; then the event fails."""


class AwaitedAnalysis(InstalledAnalysis):
    """An installed analysis; a call waits while it rests after a crash."""

    def findings_in(self, event: Event, nominal: Nominal, states: dict[Any, Any]) -> tuple[Finding, ...]:
        """Returns its findings, after a rest that leaves other work its share of the machine."""
        time.sleep(min(self.rest_for(event), MAX_REST_S))
        return super().findings_in(event, nominal, states)


@dataclass(frozen=True, slots=True)
class InstalledNow:
    """`analyses`: running ones; `names`: all installed ones; `not_run`: those that do not start -> why."""

    analyses: tuple[AwaitedAnalysis, ...] = ()
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
        following = Following(folder, {ANALYSIS_KIND}, policy)
        opened.callback(following.close)
        following.poll()
        not_run = dict(following.troubles())
        if following.problem:
            not_run[INDEX] = following.problem
        found = []
        names = tuple(sorted(following.types(ANALYSIS_KIND)))
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
                    found.append(AwaitedAnalysis(name, plugin, own))
        yield InstalledNow(tuple(found), names, not_run)


def with_installed(
    results: Iterable[EventResult],
    store: CloudStore,
    installed: Sequence[AwaitedAnalysis],
    otherwise: Nominal,
    present_nominal: bool = False,
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
            event,
            installed,
            lambda wave: nominal_of_wave(store, wave, otherwise, present_nominal),
            states,
        )
        by = {one.box_id: one.alignment for one in result.findings if one.alignment is not None}
        yield replace(
            result,
            findings=(*result.findings, *stamped(more.findings, by)),
            failed={**result.failed, **more.failed},
        )
