"""`opq-tools plugin test --data-set`: how well an analysis classifies the Sim's recordings.

Each recording is one Event of one Box, or its Measurements, as the analysis takes it. A recording is found
when the analysis gives a finding of a class that it looks for, or of its own name; that is right when such a
class is in the recording. It may wrongly find recordings of other classes, and of `none`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opq_plugins.host.plugins import Plugins
from opq_plugins.host.proxy import PluginAnalysis
from opq_plugins.sdk.nouns import ItemBatch
from opq_proto.decision import Nominal
from opq_proto.errors import PluginError
from opq_proto.messages import Event, Finding, Measurement, TimeSource, Waveform
from opq_recordings.recording import Channel, Recording
from opq_sim.data_sets.folder import ALL_CLASSES, DataSetPlan
from opq_sim.data_sets.labelled import BOX_ID, labelled_recording
from opq_tools.rules.past_measurements import measurements_of

CLASSES = ALL_CLASSES
"""Classes of the recordings."""
_SCORED = (("Event", "Finding"), ("Measurement", "Finding"))
"""Nouns of the analyses that are scored."""
SNR_DB = 30.0
SEED = 1


@dataclass(frozen=True, slots=True)
class TriedRecording:
    """A recording and its result: `kind` is the truth, `found` the classes of the findings."""

    kind: str
    found: frozenset[str]


@dataclass(frozen=True, slots=True)
class DataSetScore:
    """The score of one analysis on one data set.

    Attributes:
        finds: classes that the analysis looks for.
        by_class: truth -> (recordings, recordings with a finding).
    """

    finds: tuple[str, ...]
    recordings: int
    right: int
    wrong: int
    missed: int
    by_class: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def precision(self) -> float | None:
        """Share of the found recordings that are right; None where none was found."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else None

    @property
    def recall(self) -> float | None:
        """Share of the recordings with such a class that were found; None where there are none."""
        return self.right / (self.right + self.missed) if self.right + self.missed else None

    def as_json(self) -> dict[str, object]:
        return {
            "finds": list(self.finds),
            "recordings": self.recordings,
            "precision": self.precision,
            "recall": self.recall,
            "right": self.right,
            "wrong": self.wrong,
            "missed": self.missed,
            "by_class": {
                kind: {"recordings": count, "found": found} for kind, (count, found) in self.by_class.items()
            },
        }

    def lines(self) -> Iterator[str]:
        """The score as text: the sums, then each class."""
        yield (
            f"{self.recordings} recordings, looks for {', '.join(self.finds)}: "
            f"precision {_percent(self.precision)}, recall {_percent(self.recall)}"
        )
        for kind, (count, found) in self.by_class.items():
            wanted = _is_wanted(kind, self.finds)
            mark = (
                ""
                if (found == count if wanted else found == 0)
                else "  <- " + ("missed" if wanted else "wrongly found")
            )
            yield f"  {kind:<24} found in {found} of {count}{mark}"


def score_of(tried: Iterable[TriedRecording], finds: Iterable[str]) -> DataSetScore:
    """Computes the score of the recordings. `finds` are classes of the data set."""
    wanted = tuple(finds)
    right = wrong = missed = count = 0
    by_class: dict[str, tuple[int, int]] = {}
    for one in tried:
        count += 1
        found, there = bool(one.found), _is_wanted(one.kind, wanted)
        right, wrong, missed = (
            right + (found and there),
            wrong + (found and not there),
            missed + (there and not found),
        )
        recordings, before = by_class.get(one.kind, (0, 0))
        by_class[one.kind] = recordings + 1, before + found
    return DataSetScore(wanted, count, right, wrong, missed, by_class)


def looked_for(name: str, about: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes that an analysis looks for: `looks_for` of its samples, else the class of its name.

    Raises:
        PluginError: neither names classes of the data set.
    """
    wanted = about.get("looks_for", [name])
    if not isinstance(wanted, list) or not wanted or not set(map(str, wanted)) <= {*ALL_CLASSES} - {"none"}:
        raise PluginError(
            f"analysis {name}: looks_for in samples.json is {str(wanted)[:80]}; want a list of some of "
            f"{', '.join(kind for kind in ALL_CLASSES if kind != 'none')}"
        )
    return tuple(map(str, wanted))


def try_data_set(
    plugins: Plugins,
    name: str,
    about: Mapping[str, Any],
    per_class: int,
    seed: int = SEED,
    show: Callable[[int], None] = lambda _done: None,
) -> DataSetScore:
    """Runs an installed analysis, in its process, over recordings of every class at 50 and 60 Hz.

    Args:
        about: the analysis' part of samples.json: `settings`, `looks_for`.
        per_class: recordings of each class and frequency.
    Raises:
        PluginError, OSError, ValueError: the analysis does not start, or fails on a recording.
    """
    finds = looked_for(name, about)
    plan = DataSetPlan(CLASSES, per_class, SNR_DB, seed=seed)
    analysis = plugins.analysis(name)()
    analysis.configure(about.get("settings", {}))
    tried = []
    try:
        nouns = analysis.declared()
        if nouns not in _SCORED:
            raise PluginError(
                f"analysis {name} takes {nouns[0]} and gives {nouns[1]}; a data set is recordings, for "
                "analyses of Event or Measurement that give Finding"
            )
        for number, (event, nominal, kind) in enumerate(_events(plan), start=1):
            if nouns[0] == Measurement.__name__:
                found = _found_in_measurements(analysis, event, nominal)
            else:
                found = analysis.analyse(event, nominal.volts, nominal.hz)
            tried.append(TriedRecording(kind, frozenset(_classes(found, name, finds))))
            show(number)
    finally:
        analysis.close()
    return score_of(tried, finds)


def _found_in_measurements(analysis: PluginAnalysis, event: Event, nominal: Nominal) -> Sequence[Finding]:
    """Returns the findings in the Measurements of a recording, as a gateway makes them."""
    (wave,) = event.waveforms
    channel = Channel.of(wave.box_id, wave.counts, scale=wave.v_per_lsb)
    recording = Recording(
        Path("recording"),
        "waveform",
        channel,
        (channel,),
        wave.rate_hz,
        wave.start_ns,
        nominal.volts,
        nominal.hz,
        box_id=wave.box_id,
    )
    rows = ItemBatch(measurements=list(measurements_of(recording)))
    result = analysis.analyse_items(rows, nominal.volts, nominal.hz)
    if result.failed:
        raise ValueError(result.error)
    return result.findings


def _classes(found: Iterable[Finding], name: str, finds: tuple[str, ...]) -> Iterator[str]:
    """Classes of the findings; one with the analysis' own name counts as any class that it looks for."""
    for one in found:
        if one.kind == name or {*one.kind.split("+")} & {*finds}:
            yield one.kind


def _events(plan: DataSetPlan) -> Iterator[tuple[Event, Nominal, str]]:
    number = 0
    for kind in plan.classes:
        for hz in plan.hz:
            for index in range(1, plan.per_class + 1):
                number += 1
                made = labelled_recording(kind, hz, index, plan.seed, plan.snr_db, number)
                facts = made.facts
                wave = Waveform(
                    BOX_ID,
                    facts["start_ns"],
                    0,
                    TimeSource.GPS,
                    facts["rate_hz"] * 1000,
                    facts["volts_per_lsb"],
                    0,
                    made.counts,
                )
                nominal = Nominal(facts["nominal_volts"], facts["nominal_hz"])
                yield Event(number, wave.start_ns, wave.end_ns, (wave,)), nominal, kind


def _is_wanted(kind: str, finds: tuple[str, ...]) -> bool:
    return bool({*kind.split("+")} & {*finds})


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
