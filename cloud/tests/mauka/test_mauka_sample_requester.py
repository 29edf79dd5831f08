"""Asking for more: what analyses want, what is asked of it, and that it ends."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.mauka import MoreSamplesSection
from opq_cloud.mauka.analyses import rapid_voltage_change, rms_voltage
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.running.calls.event_analysis import by_nominal
from opq_cloud.mauka.running.events.sample_requester import SampleRequester, sample_requests
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import open_store
from opq_cloud.store.event_record import PERSON_ASKED
from opq_cloud.store.sample_requests import SamplesAnswer, StoredSampleRequest
from opq_plugins.sdk import nouns
from opq_plugins.sdk.modules import AnalysisModule
from opq_plugins.sdk.nouns import checked_requests
from opq_proto.decision import Nominal
from opq_proto.messages import Event, Finding, SampleRequest, TimeSource, Trigger, Waveform

START_NS = 1_700_000_000 * 10**9
S = 10**9
GUIDE = Path(__file__).parents[3] / "docs" / "plugins-analyses.md"
SECTION = MoreSamplesSection()
NOMINAL = Nominal(120.0, 60.0)


def sine(
    box_id: str, sag: tuple[float, float, float] | None = None, seconds: float = 3.0, at_s: float = 0.0
) -> Waveform:
    """120 V at 60 Hz from `at_s`; `sag` is (start_s, end_s, per unit) of the same axis."""
    t_s = at_s + np.arange(round(seconds * 12_000)) / 12_000
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * t_s)
    if sag is not None:
        volts[(t_s >= sag[0]) & (t_s < sag[1])] *= sag[2]
    counts = np.round(volts / 0.0068).astype(np.int16)
    start_ns = START_NS + round(at_s * S)
    return Waveform(box_id, start_ns, 1000, TimeSource.GPS, 12_000_000, 0.0068, round(at_s * 12_000), counts)


def inrush(box_id: str) -> Waveform:
    """7.5 % lower from 2.5 s on, a third of that three cycles later: their mean is by less than 5 %."""
    wave = sine(box_id)
    t_s = np.arange(len(wave.counts)) / 12_000 - 2.5
    low = np.where(t_s < 0, 0.0, 0.075 * np.exp(-np.maximum(t_s, 0.0) / 0.045))
    return replace(wave, counts=np.round(wave.counts * (1 - low)).astype(np.int16))


def event_of(*waves: Waveform) -> Event:
    return Event(1, START_NS, START_NS + 3 * S, waves)


def wanted_of(*waves: Waveform) -> tuple[SampleRequest, ...]:
    event = event_of(*waves)
    found = rms_voltage.analyse(event, rms_voltage.Config())
    return rms_voltage.wants(event, found, rms_voltage.Config())


def test_a_lasting_dip_requests_as_much_again() -> None:
    """It lasts to the end of its waveform."""
    (request,) = wanted_of(sine("1", (1.0, 9.0, 0.6)), sine("2"), sine("3"))
    assert (request.box_ids, request.start_ns, request.end_ns) == (("1",), START_NS, START_NS + 6 * S)
    assert "the sag at Box 1" in request.because


def test_many_boxes_with_one_dip_are_one_request() -> None:
    boxes = [str(number) for number in range(1, 31)]
    lasting, _ = checked_requests(wanted_of(*(sine(box_id, (1.0, 9.0, 0.6)) for box_id in boxes)))
    assert lasting.box_ids == tuple(boxes) and "Box 1 " in lasting.because
    changed = event_of(*(sine(box_id, (1.4, 2.4, 0.93)) for box_id in boxes))
    (steady,) = checked_requests(rapid_voltage_change.wants(changed, (), rapid_voltage_change.Config()))
    assert steady.box_ids == tuple(boxes)


def test_a_finished_dip_requests_nothing() -> None:
    """It is over, or began before the waveform."""
    assert wanted_of(sine("1", (1.0, 2.0, 0.6)), sine("2")) == ()
    assert wanted_of(sine("1", (-1.0, 9.0, 0.6)), sine("2")) == (), "a waveform within a long dip"


def test_a_wide_dip_requests_neighbours() -> None:
    """If most Boxes saw the dip, the neighbours of the shallowest one are asked."""
    dips = [sine(str(k), (1.0, 1.3, 0.3 + 0.05 * k)) for k in range(1, 7)]
    (request,) = wanted_of(*dips, sine("7"))
    assert request.beside == ("6", "5", "4", "3") and request.box_ids == ()
    assert wanted_of(*dips[:2], sine("7"), sine("8")) == (), "the border is among those that were asked"


def test_a_rapid_change_requests_its_steady_second() -> None:
    """A rapid change asks for the steady second that its waveform lacks."""

    def wanted(*waves: Waveform) -> tuple[SampleRequest, ...]:
        event, config = event_of(*waves), rapid_voltage_change.Config()
        return rapid_voltage_change.wants(event, rapid_voltage_change.analyse(event, config), config)

    (request,) = wanted(sine("1", (1.4, 2.4, 0.93)), sine("2"))
    assert (request.box_ids, request.start_ns) == (("1",), START_NS)
    assert request.end_ns == pytest.approx(START_NS + 3.6 * S, abs=0.05 * S)
    (request,) = wanted(sine("1", (0.5, 0.9, 0.93)))
    assert request.start_ns == pytest.approx(START_NS - 0.7 * S, abs=0.05 * S)
    (request,) = wanted(inrush("1"))
    assert request.end_ns > START_NS + 3 * S
    whole = sine("1", (1.4, 1.9, 0.93), seconds=4.0)
    assert wanted(whole) == () and wanted(sine("1"), sine("2", (1.0, 2.0, 0.6))) == ()


def trigger(**more: Any) -> Trigger:
    return Trigger("t" * 30, START_NS, START_NS + 3 * S, ("1", "2"), "1", "a dip", **more)


@pytest.fixture
def store(tmp_path):
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def put_event(store, *waves: Waveform, **more: Any) -> int:
    event_id = store.open_event(trigger(**more), "test")
    for wave in waves:
        store.put_waveform(event_id, wave)
    store.finish_event(event_id)
    return event_id


def test_only_missing_samples_are_requested(store) -> None:
    """Within the longest span."""
    record = store.event_record(put_event(store, sine("1")))
    event = event_of(sine("1"))

    def asked(*requests: SampleRequest) -> list[StoredSampleRequest]:
        return sample_requests("mine", requests, event, record, SECTION, 7)

    def spans(**request: Any) -> dict[str, tuple[float, float]]:
        return {
            box_id: ((span[0] - START_NS) / S, (span[1] - START_NS) / S)
            for each in asked(SampleRequest(**request))
            for box_id, span in each.spans.items()
        }

    later = START_NS + 5 * S
    assert spans(box_ids=("1", "2"), end_ns=later) == {"1": (2.5, 5.0), "2": (0.0, 5.0)}
    assert spans(box_ids=("1",), start_ns=START_NS - S) == {"1": (-1.0, 0.5)}
    assert spans(box_ids=("1",), start_ns=START_NS - S, end_ns=later) == {"1": (-1.0, 5.0)}
    assert spans(box_ids=("1",)) == {}
    assert spans(box_ids=("2",), end_ns=START_NS + 3600 * S) == {"2": (0.0, 33.0)}
    assert asked(SampleRequest(beside=("2", "1"))) == [], "it asks every Box already"
    person = replace(record, asked_as={PERSON_ASKED: ("1",)})
    (beside,) = sample_requests("mine", [SampleRequest(beside=("2", "1"))], event, person, SECTION, 7)
    assert (beside.beside, beside.span_ns) == (("1", "2"), (record.start_ns, record.end_ns))
    assert beside.requested_ns == 7, "by the caller's clock"


def runner_of(bus, store) -> AnalysisRunner:
    made = AnalysisRunner(bus.settings, lambda: store, load_analyses([("rms_voltage", {})]))
    made.on_idle()  # nothing is there yet
    return made


def analysed(runner: AnalysisRunner, store, event_id: int) -> None:
    runner.analyse_now(event_id)
    assert store.event_record(event_id).analysed


def test_an_event_grows_at_most_twice(bus, store) -> None:
    """A dip of 60 s: two rounds, and then it is left to the Measurements."""
    runner, long_dip = runner_of(bus, store), (1.0, 60.0, 0.6)
    event_id = put_event(store, sine("1", long_dip), sine("2"))
    seconds = []
    for _ in range(5):
        analysed(runner, store, event_id)
        waiting = [
            (number, each)
            for number, each in store.event_record(event_id).more.items()
            if each.state == "waiting"
        ]
        if not waiting:
            break
        ((number, request),) = waiting
        assert store.answer_request(event_id, number, SamplesAnswer(request.spans, {}, 1))
        start_ns, end_ns = request.spans["1"]
        seconds.append((end_ns - START_NS) / S)
        more = sine("1", long_dip, (end_ns - start_ns) / S, (start_ns - START_NS) / S)
        assert store.put_waveform(event_id, more) and store.finish_event(event_id)
        assert not store.event_record(event_id).analysed
    assert seconds == [6.0, 12.0]
    incident = store.incidents()
    assert [(each.kind, each.closed) for each in incident] == [("sag", False)], "one, grown, and not doubled"
    (finding,) = [each.finding for each in incident[0].findings if each.finding.kind == "sag"]
    assert finding.end_ns - finding.start_ns == pytest.approx(11 * S, abs=S // 10)


def test_a_refusal_is_counted_once(bus, store) -> None:
    """A refusal is counted and asks for nothing again."""
    runner = runner_of(bus, store)
    event_id = put_event(store, sine("1", (1.0, 9.0, 0.6)), sine("2"))
    analysed(runner, store, event_id)
    assert store.answer_request(event_id, 1, SamplesAnswer({}, {"budget_of_box": 1}, 1))
    runner.flow.analysed.requester._next_s = 0.0
    runner.on_idle()
    assert runner.counters.of("samples_refused", "budget_of_box") == 1
    store.unmark_analysed(event_id)
    analysed(runner, store, event_id)
    assert len(store.event_record(event_id).more) == 1


def test_a_failing_wants_holds_no_event(store) -> None:
    """The analysis raises in `wants`."""

    class Failing:
        name, asks = "failing", True

        def requests_in(self, *_: object) -> tuple[SampleRequest, ...]:
            raise RuntimeError("foreign")

    failures = []

    def guard(what: str, call: Any) -> bool:
        try:
            call()
        except RuntimeError:
            failures.append(what)
            return False
        return True

    event_id = put_event(store, sine("1", (1.0, 9.0, 0.6)))
    record, event = store.event_record(event_id), store.event(event_id)
    asking = SampleRequester(lambda: store, SECTION, ServiceCounters())
    parts = by_nominal(event, lambda _: NOMINAL)
    mine = load_analyses([("rms_voltage", {})])[0]
    found = [replace(each, analysis="rms_voltage") for each in mine.findings_in(event, NOMINAL, {})]
    assert asking.request_samples(record, parts, found, [Failing(), mine], guard) == 1
    assert failures == ["requests of failing"]
    off = SampleRequester(lambda: store, replace(SECTION, enabled=False), ServiceCounters())
    assert off.request_samples(record, parts, found, [mine], guard) == 0


def analysis_module(wants: Any) -> AnalysisModule:
    module: Any = ModuleType("mine")
    module.name, module.takes, module.gives = "mine", Event, Finding
    module.Config, module.analyse, module.wants = rms_voltage.Config, rms_voltage.analyse, wants
    made = AnalysisModule(module)
    made.configure({})
    return made


def test_an_installed_request_is_checked() -> None:
    """Requests of an installed analysis pass the wire and are checked."""
    made = analysis_module(rms_voltage.wants)
    assert made.asks()
    event = event_of(sine("1", (1.0, 9.0, 0.6)), sine("2"), sine("3"))
    found = list(made.analyse(event, 120.0, 60.0))
    (request,) = made.wants(event, found, 120.0, 60.0)
    assert nouns.requests_from(nouns.to_plain([request])) == (request,)
    for wrong in (
        SampleRequest(),
        SampleRequest(box_ids=("1",), beside=("2",)),
        SampleRequest(box_ids=("1",), most_boxes=0),
        SampleRequest(box_ids=("1",), start_ns=5, end_ns=5),
        SampleRequest(box_ids=("1",), end_ns=-1),
        SampleRequest(box_ids=("x" * 80,)),
        "1",
    ):
        with pytest.raises((TypeError, ValueError), match=r"asks|wants"):
            analysis_module(lambda *_, given=wrong: [given]).wants(event, found, 120.0, 60.0)
    with pytest.raises(ValueError, match="more than 20"):
        analysis_module(lambda *_: [request] * 21).wants(event, found, 120.0, 60.0)


def test_the_guides_example_requests_its_span() -> None:
    text = GUIDE.read_text().partition("## Asking for more samples")[2].partition("```python")[2]
    names: dict[str, Any] = {}
    exec(text.partition("```")[0], names)
    event = event_of(sine("1", (1.0, 2.0, 0.6)), sine("2"))
    found = rms_voltage.analyse(event, rms_voltage.Config())
    before, beside = analysis_module(names["wants"]).wants(event, list(found), 120.0, 60.0)
    assert (before.box_ids, before.start_ns) == (("1",), START_NS - S)
    assert (beside.beside, beside.most_boxes) == (("1",), 4)
    assert analysis_module(names["wants"]).wants(event, [], 120.0, 60.0) == ()
