"""The page of a dip of half a minute: drawn from the event that has all of it, and quickly."""

import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import demo
import numpy as np
import pytest

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_measure.rms import half_cycle_rms_v
from opq_measure.timebase.cycles import half_cycle_edges
from opq_proto.messages import Trigger
from opq_proto.wire.half_cycles import HalfCycleRms

DIP_S = 30.0
DIP_V = 60.0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """The onset's event of 3 s, and the one that completes it, of 32 s."""
    start_ns = time.time_ns() - 60 * 10**9
    running = demo.Scene(tmp_path_factory.mktemp("view"))
    for seconds, dip_s, token in ((3.0, 2.0, "a" * 30), (DIP_S + 2, DIP_S, "b" * 30)):
        outlet = demo.DemoOutlet("1", "Box 1", 120.0, 0.02, ((3, 0.02),), (DIP_V,) * round(dip_s * 60))
        demo.put_event(running.store, [demo.waveform_of(outlet, start_ns, seconds)], token, put_findings)
    with running:
        yield running


def fetched(scene: demo.Scene, path: str) -> tuple[str, float]:
    """The answer, and the CPU time that this process, which serves it, spent on it."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    begun = time.process_time()
    with opener.open(scene.url + path, timeout=240) as answer:
        return answer.read().decode(), time.process_time() - begun


def test_the_incident_is_a_30_s_sag(scene: demo.Scene) -> None:
    """The incident is one closed sag of thirty seconds."""
    (incident,) = scene.store.incidents()
    assert (incident.kind, incident.closed, incident.event_ids) == ("sag", True, (1, 2))
    (item,) = incident.findings
    assert item.finding.duration_cycles == pytest.approx(DIP_S * 60, abs=0.5)
    assert item.finding.ieee1159 == "temporary sag"  # 3 s to 1 min


def test_its_page_draws_both_events_once(scene: demo.Scene) -> None:
    """Its page draws the samples of both events once as examine does."""
    text, seconds = fetched(scene, "/incidents/1")
    traces = re.findall(r'class="trace trace-0" d="(M[^"]*)"', text)
    assert len(traces) == 2 and all(trace.count("M") <= 2 for trace in traces), (
        "one chart of rms, one of samples"
    )
    examined, _ = fetched(scene, "/incidents/1/examine?panel=wave,rms")
    assert sorted(re.findall(r'class="trace trace-0" d="(M[^"]*)"', examined)) == sorted(traces)
    assert seconds < 10.0  # 0.1 s on an idle machine


BOTH_ENDS_S = 20.0
DEEPEST_V = 30.0


@pytest.fixture(scope="module")
def two_ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """Samples of the first 3 s and the last 4 of a dip of 20 s, and its half cycles from the ledger."""
    start_ns = time.time_ns() - 60 * 10**9
    running = demo.Scene(tmp_path_factory.mktemp("view"))
    store = running.store
    outlet = demo.DemoOutlet("1", "Box 1", 120.0, 0.02, ((3, 0.02),), (DIP_V,) * round(BOTH_ENDS_S * 60))
    whole = demo.waveform_of(outlet, start_ns, BOTH_ENDS_S + 2)
    onset = replace(whole, counts=whole.counts[:36_000])
    first = len(whole.counts) - 48_000
    end = replace(whole, counts=whole.counts[first:], first_sample=first, start_ns=whole.time_ns(first))
    demo.put_event(store, [onset], "c" * 30, put_findings)
    span = start_ns, whole.end_ns
    trigger = Trigger("d" * 30, end.start_ns, end.end_ns, ("1",), "1", "its end", 1, half_cycles_ns=span)
    event_id = store.open_event(trigger, "its end")
    store.put_waveform(event_id, end)
    edges = half_cycle_edges(whole.volts, whole.rate_hz, 60.0)
    volts = half_cycle_rms_v(whole.volts, edges).astype(np.float32)
    volts[len(volts) // 2] = DEEPEST_V
    middles = edges[1 : 1 + len(volts)] * (1e12 / whole.rate_millihz)
    t_ns = start_ns + np.round(middles).astype(np.int64)
    store.put_half_cycles(event_id, HalfCycleRms("1", *span, t_ns, volts, volts))
    store.finish_event(event_id)
    put_findings(store, event_id, demo.findings_in([whole]))
    store.mark_analysed(event_id)
    with running:
        yield running


def test_a_long_dips_middle_has_half_cycles(two_ends: demo.Scene) -> None:
    """Between the ends of a long dip its half cycles are drawn."""
    (incident,) = two_ends.store.incidents()
    assert incident.event_ids == (1, 2)
    text, _ = fetched(two_ends, "/incidents/1")
    assert "the half cycles that the Box&#39;s gateway has kept" in text
    assert "lowest 30.0" in text and "between them the half-cycle rms that its gateway kept" in text
    assert "/api/v1/incidents/1/export?format=half-cycles" in text


def test_examine_and_course_draw_one_line(
    two_ends: demo.Scene,
) -> None:
    """Examine and the course draw them as one line that a cursor reads."""
    middle_ms = BOTH_ENDS_S * 500
    page, seconds = fetched(two_ends, f"/incidents/1/examine?panel=rms&a={middle_ms * 1.2}ms")
    assert seconds < 10.0
    assert "the half cycles that the Box&#39;s gateway has kept" in page
    assert "s without a waveform" in page and 'class="bars' not in page
    for text in (page, fetched(two_ends, "/incidents/1")[0]):
        trace = re.search(r'class="trace trace-0" d="([^"]*)"', text)
        assert trace and trace[1].count("M") == 1 and len(re.findall("[HLV]", trace[1])) > 1000
    cells = re.findall(r'<td class="num">([^<]*)</td>', page)  # of the only Box: the fourth is Urms at A
    assert cells[0] == cells[6] == "\u2013" and float(cells[3]) == pytest.approx(DIP_V, abs=1.0)
    near = fetched(two_ends, f"/incidents/1/examine?panel=rms&t={middle_ms}ms..{middle_ms + 100}ms")[0]
    drawn = re.search(r'class="trace trace-0" d="([^"]*)"', near)
    assert drawn
    most = max(len(re.findall("[HLV]", piece)) for piece in drawn[1].split("M"))
    assert 10 <= most <= 30, "each half cycle"
