"""The calls that an executor carries out: analyses over an event whose samples come with the call.

The same in a process of this machine, at a worker of Dask, and by hand. Stored events: bulk/stored_events.py.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

from opq_cloud.mauka.running.calls.event_analysis import AnalysisResult, first_findings, run_analyses
from opq_cloud.mauka.running.calls.worker_notes import end_for_memory, note
from opq_cloud.mauka.running.known.built_in_analyses import BUILT_IN, load_analyses
from opq_plugins.sdk.modules import Analysis
from opq_proto.decision import Nominal
from opq_proto.messages import Event, Finding

EventParts = tuple[tuple[Nominal, Event], ...]
"""An event in parts of Boxes with the same nominal values."""


@dataclass(frozen=True, slots=True)
class LoadedAnalyses:
    """Analyses, and what those with memory keep from event to event."""

    analyses: tuple[Analysis, ...]
    states: dict[Any, Any] = field(default_factory=dict)

    def loaded(self) -> "LoadedAnalyses":
        return self

    def without(self, left_out: frozenset[str]) -> list[Analysis]:
        return [one for one in self.analyses if one.name not in left_out]


@dataclass(frozen=True, slots=True)
class AnalysisSetup:
    """The names and settings of built-in analyses; a process loads them once.

    `entries`: (analysis, its settings as JSON); empty: all in `folders`.
    """

    entries: tuple[tuple[str, str], ...] = ()
    folders: tuple[Path, ...] = (BUILT_IN,)

    @classmethod
    def of(cls, entries: Sequence[tuple[str, Mapping[str, object]]]) -> "AnalysisSetup":
        return cls(tuple((name, json.dumps(dict(settings), sort_keys=True)) for name, settings in entries))

    def loaded(self) -> LoadedAnalyses:
        """Raises PluginError."""
        return _loaded(self)


class Analyses(Protocol):
    """`AnalysisSetup`, which any process can load, or analyses that are loaded here."""

    def loaded(self) -> LoadedAnalyses: ...


@lru_cache(maxsize=4)
def _loaded(setup: AnalysisSetup) -> LoadedAnalyses:
    entries = [(name, json.loads(settings)) for name, settings in setup.entries]
    return LoadedAnalyses(tuple(load_analyses(entries, setup.folders)))


def load(analyses: Analyses) -> None:
    """Loads them in this process, so that the first event does not wait for it."""
    analyses.loaded()


def find_first(
    analyses: Analyses, event_id: int, parts: EventParts, left_out: frozenset[str], order: Sequence[str]
) -> list[Finding]:
    """Returns the findings of the first Box of `order` that shows any when analysed alone."""
    with _noted(event_id) as note_analysis:
        return first_findings(parts, order, analyses.loaded().without(left_out), note_analysis)


def analyse_event_parts(
    analyses: Analyses, event_id: int, parts: EventParts, left_out: frozenset[str]
) -> AnalysisResult:
    """Runs each analysis over the parts of an event."""
    loaded = analyses.loaded()
    with _noted(event_id) as note_analysis:
        return run_analyses(loaded.without(left_out), parts, loaded.states, note_analysis)


@contextmanager
def _noted(event_id: int) -> Iterator[Callable[[str], None]]:
    """Yields a function that notes which analysis begins; ends this process where its memory is used up."""
    try:
        yield partial(note, event_id)
    except MemoryError:
        end_for_memory()
        raise
    finally:
        note(0)
