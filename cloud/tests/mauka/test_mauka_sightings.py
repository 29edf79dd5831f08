"""One disturbance that several waveforms of a Box show is one finding, with the figures of the best."""

from dataclasses import replace

import pytest
from joining_table import MS, Table, sag

from opq_cloud.mauka.measuring.sightings import whole
from opq_proto.messages import Finding

PART = {
    "kind": "sag",
    "residual_percent": 70.0,
    "residual_v": 84.0,
    "duration_cycles": 60.0,
    "ieee1159": "momentary sag",
    "itic": "no_damage",
    "semi_f47": "pass",
    "because": "the onset",
    "closed": False,
}
WHOLE = {
    "kind": "interruption",
    "residual_percent": 2.0,
    "residual_v": 2.4,
    "duration_cycles": 300.0,
    "ieee1159": "temporary interruption",
    "itic": "no_damage",
    "semi_f47": "not_applicable",
    "because": "all of it",
    "closed": True,
}


@pytest.mark.parametrize("onset_first", [True, False])
def test_the_covering_sighting_gives_the_figures(onset_first: bool) -> None:
    """A dip seen in part and then completely has the figures of the complete sighting."""
    onset = sag(1000, 2000, **PART)
    all_of_it = sag(1001, 6000, **WHOLE)  # its stamps are a millisecond off
    table = Table()
    table.put([onset if onset_first else all_of_it], 1)
    table.put([all_of_it if onset_first else onset], 2)
    (known,) = table.known.values()
    assert (known.finding_id, known.incident_id, known.event_ids) == (1, 1, (1, 2))
    assert known.finding == all_of_it
    assert table.put([onset], 1).written == ()


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("cut_first", [True, False])
def test_a_cut_waveform_doubles_no_jumps_dip(closed: bool, cut_first: bool) -> None:
    """A waveform that ends soon after a phase jump shows the dip that it makes, but not the jump."""
    cut = sag(1000, 1016, residual_percent=84.0, duration_cycles=1.0, closed=closed)
    jumped = replace(cut, kind="phase_jump+sag", closed=True, figures=(("phase_jump_degrees", 60.0),))
    table = Table()
    table.put([cut if cut_first else jumped], 1)
    table.put([jumped if cut_first else cut], 2)
    assert [known.finding for known in table.known.values()] == [jumped]


def test_an_end_within_a_cycle_is_closed() -> None:
    """An open end within a cycle of the recovery does not hold a dip open."""
    closed = sag(0, 1500, duration_cycles=90.0)
    table = Table()
    table.put([sag(0, 1508, closed=False, duration_cycles=90.5)])
    table.put([closed])
    assert [known.finding for known in table.known.values()] == [closed]


@pytest.mark.parametrize("seen_first", [True, False])
@pytest.mark.parametrize("closed", [True, False])
def test_a_dip_begins_at_its_shown_start(seen_first: bool, closed: bool) -> None:
    """A waveform that begins milliseconds before a fault places it by a guess."""
    seen, cut = sag(0, 1500, closed=closed), sag(-6, 1500, onset_seen=False, closed=closed)
    table = Table()
    table.put([seen if seen_first else cut], 1)
    table.put([cut if seen_first else seen], 2)
    (known,) = table.known.values()
    assert (known.finding.start_ns, known.finding.onset_seen) == (0, True)
    if not closed:
        table.put([sag(1000, 4000, onset_seen=False)], 3)
        (known,) = table.known.values()
        assert (known.finding.start_ns, known.finding.end_ns) == (0, 4000 * MS)


@pytest.mark.parametrize("cut_ms", [-4, 0, 7])
def test_a_longer_waveform_changes_only_the_end(cut_ms: int) -> None:
    """A longer waveform that does not show the onset changes only the end."""
    seen, longer = sag(0, 1000, closed=False), sag(cut_ms, 4000, onset_seen=False)
    for pieces in ([seen, longer], [longer, seen]):
        found = whole(pieces)
        assert (found.start_ns, found.end_ns) == (0, 4000 * MS)
        assert found.onset_seen and found.closed


def test_a_telegram_begins_at_its_shown_start() -> None:
    """A telegram begins where a waveform shows it not with one that begins just before."""
    cut = sag(-36, 3000, kind="mains_signalling", residual_percent=None, onset_seen=False, closed=False)
    shown = replace(cut, start_ns=0, end_ns=2000 * MS, onset_seen=True)
    longer = replace(cut, end_ns=6000 * MS, closed=True)
    for pieces in ([cut, shown], [shown, longer], [longer, cut, shown]):
        found = whole(pieces)
        assert (found.start_ns, found.onset_seen, found.closed) == (0, True, longer in pieces)
        assert found.end_ns == max(one.end_ns for one in pieces)
    later = replace(shown, start_ns=500 * MS)  # a pulse of its own
    assert whole([longer, later]).start_ns == -36 * MS


def test_pieces_get_figures_of_their_span() -> None:
    """Pieces without a complete sighting get the figures of their common span."""
    first = sag(
        0,
        1000,
        closed=False,
        residual_percent=40.0,
        residual_v=48.0,
        duration_cycles=50.0,
        ieee1159="momentary sag",
        itic="no_damage",
        semi_f47="fail",
    )
    last = sag(
        800,
        4000,
        residual_percent=75.0,
        residual_v=90.0,
        duration_cycles=160.0,
        ieee1159="temporary sag",
        itic="no_damage",
        semi_f47="not_applicable",
    )
    table = Table()
    table.put([first], 1)
    table.put([last], 2)
    (known,) = table.known.values()
    finding = known.finding
    assert (finding.start_ns, finding.end_ns, finding.closed) == (0, 4000 * MS, True)
    assert finding.duration_cycles == pytest.approx(200.0)  # 4 s of 50 Hz
    # 40 % for 4 s: IEEE 1159 momentary to 3 s; ITIC 80 % to 10 s; F47 draws no line beyond 1 s
    verdicts = ("temporary sag", "no_damage", "not_applicable")
    assert (finding.ieee1159, finding.itic, finding.semi_f47) == verdicts
    assert finding.residual_percent == 40.0
    assert finding.because.startswith("put together from 2 overlapping waveforms")
    assert known.pieces == (first, last)


def test_long_pieces_are_an_undervoltage() -> None:
    """Pieces of more than a minute are an undervoltage or an interruption."""

    def pieces(kind: str) -> list[Finding]:
        return [sag(0, 40_000, closed=False), replace(sag(35_000, 70_000), kind=kind)]

    assert whole(pieces("sag")).kind == "undervoltage"
    assert whole(pieces("interruption")).kind == "interruption"


def test_a_sag_and_a_swell_stay_two() -> None:
    table = Table()
    table.put([sag(0, 100, closed=False), replace(sag(50, 150), kind="swell")])
    assert sorted(known.finding.kind for known in table.known.values()) == ["sag", "swell"]
