"""What an incident was at each of its Boxes: in titles, in lists of one place, in the fields of the plane."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from opq_cloud.export.selection import all_incidents, incident_table
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.notifications.message_texts import incident_headline
from opq_cloud.store import CloudStore
from opq_cloud.store.incidents.box_events import groups_of, naming_event, narrowed
from opq_cloud.store.incidents.index import IncidentFilter, cell_of
from opq_cloud.view.web.words import headline, outline, sentence
from opq_proto.messages import Finding, Incident

S = 10**9
ZERO_NS = 1_795_000_000 * S


def finding(box_id: str, kind: str, percent: float | None, length_s: float, at_s: float = 0.0) -> Finding:
    start_ns = ZERO_NS + round(at_s * S)
    return Finding(
        kind, box_id, start_ns, start_ns + round(length_s * S), 1000, True, residual_percent=percent
    )


def stored(store: CloudStore, *findings: Finding) -> Incident:
    numbers = {each.incident_id for each in put_findings(store, 1, findings)}
    assert len(numbers) == 1, "they are one incident"
    incident = store.incident(numbers.pop())
    assert incident is not None
    return incident


DEAD = finding("1", "interruption", 0.0, 20.15)
DIPS = [finding(str(box), "sag", percent, 0.15) for box, percent in ((2, 31.4), (3, 31.5), (4, 79.3))]
"""One Box without voltage, three that had a dip of 150 ms."""


@pytest.mark.parametrize(
    ("findings", "title"),
    [
        ((DEAD, *DIPS), "Interruption to 0.0 % at Box 1, sags to between 31.4 % and 79.3 % at 3 more"),
        ((DEAD, DIPS[0]), "Interruption to 0.0 % at Box 1, sag to 31.4 % at Box 2"),
        (DIPS, "Sag to 31.4 % at Boxes 2 and 3, sag to 79.3 % at Box 4"),
        (
            (finding("1", "sag", 85.2, 0.158), finding("4", "rapid_voltage_change", None, 0.189)),
            "Sag to 85.2 % at Box 1, rapid voltage change at Box 4",
        ),
        (
            (finding("1", "swell", 118.0, 0.1), finding("2", "sag", 90.0, 0.1)),
            "Swell to 118.0 % at Box 1, sag to 90.0 % at Box 2",
        ),
        ((DEAD, replace(DEAD, box_id="2")), "Interruption to 0.0 % at Boxes 1 and 2"),
        (
            (DEAD, replace(DEAD, box_id="2", end_ns=ZERO_NS + S // 5)),
            "Interruption to 0.0 % at Box 1, interruption to 0.0 % at Box 2",
        ),
    ],
)
def test_a_title_says_who_had_what(store: CloudStore, findings: list[Finding], title: str) -> None:
    assert headline(stored(store, *findings)).replace("\u202f", " ") == title


def test_level_and_length_are_of_one_box(store: CloudStore) -> None:
    """A rapid voltage change of 189 ms at Box 4 does not lengthen the sag of 158 ms at Box 1."""
    sag, change = finding("1", "sag", 85.2, 0.158), finding("4", "rapid_voltage_change", None, 0.189)
    incident = stored(store, sag, change)
    said = outline(incident).replace("\u202f", " ")
    assert said == "to 85.2 % for 158 ms at Box 1, rapid voltage change at Box 4"
    assert naming_event(incident).length_ns == 158_000_000
    (entry,) = store.find_incidents(IncidentFilter(), 9)
    assert entry.length_ns == 158_000_000
    mail = incident_headline(incident)
    assert mail.startswith("Sag to 85.2 % at Box 1, 158 ms, rapid voltage change at Box 4")


def test_a_boxs_list_says_what_was_there(store: CloudStore) -> None:
    stored(store, DEAD, *DIPS)

    def listed(**wanted: object) -> list[tuple[str, float | None, int]]:
        found = store.find_incidents(IncidentFilter(**wanted), 9)  # type: ignore[arg-type]
        return [(each.kind, each.residual_percent, each.length_ns) for each in found]

    whole, dip = ("interruption", 0.0, 20_150_000_000), ("sag", 31.4, 150_000_000)
    assert listed() == [whole] and listed(box_id="1") == [whole]
    assert listed(box_id="2") == [dip] and listed(box_ids=("3", "4")) == [("sag", 31.5, 150_000_000)]
    assert listed(box_id="2", kind="interruption") == []
    assert listed(box_id="2", kind="sag") == [dip] and listed(kind="sag") == []
    assert listed(box_id="2", cell=cell_of(31.4, 150_000_000)) == [dip]
    assert listed(box_id="2", cell=cell_of(0.0, 20_150_000_000)) == []
    assert store.incident_cells(IncidentFilter(box_id="4")) == {cell_of(79.3, 150_000_000): 1}
    assert store.count_incidents(IncidentFilter(box_ids=("2", "3"), kind="interruption"), 9) == 0


def test_a_jumps_dip_stands_under_both_classes(store: CloudStore) -> None:
    """Reports count it as a dip: so does the list of dips, and the title names the jump."""
    dip = replace(finding("1", "phase_jump+sag", 84.1, 0.02), residual_v=193.4)
    incident = stored(store, dip, *(finding(box, "phase_jump", None, 0.0) for box in "123"))
    said = headline(incident).replace("\u202f", " ")
    assert said == "Phase jump and sag to 84.1 % at Box 1, phase jumps at Boxes 2 and 3"
    assert sentence(incident, 230.0).startswith("The phase jumped, and the voltage at Box 1 fell to 193.4")
    assert incident_headline(incident).startswith("Phase jump with sag to 84.1 % at Box 1, 20 ms")
    for kind in ("sag", "phase_jump"):
        (entry,) = store.find_incidents(IncidentFilter(box_id="1", kind=kind), 9)
        assert (entry.kind, entry.residual_percent) == ("phase_jump+sag", 84.1)
    assert store.find_incidents(IncidentFilter(box_id="2", kind="sag"), 9) == []


def test_a_boxs_export_says_what_was_there(store: CloudStore) -> None:
    stored(store, DEAD, *DIPS)
    (row,) = incident_table(all_incidents(store, IncidentFilter(box_id="4"))).rows
    there = {name: row[name] for name in ("class", "residual_percent", "duration_ms", "worst_box_id")}
    assert there == {"class": "sag", "residual_percent": 79.3, "duration_ms": 150.0, "worst_box_id": "4"}
    assert row["box_ids"] == ["4"]


@pytest.mark.parametrize("asked", [lambda boxes: None, lambda boxes: boxes, lambda boxes: ("9",)])
def test_a_narrowing_to_all_or_none_changes_nothing(
    store: CloudStore, asked: Callable[[tuple[str, ...]], tuple[str, ...] | None]
) -> None:
    incident = stored(store, DEAD, *DIPS)
    assert narrowed(incident, asked(incident.box_ids)) is incident


def test_many_boxes_are_one_group(store: CloudStore) -> None:
    many = [finding(str(box), "sag", 20.0 + box % 70, 0.15) for box in range(2, 402)]
    main, (others,) = groups_of(stored(store, DEAD, *many))
    assert (
        main.box_ids == ("1",) and len(others.box_ids) == 400 and (others.lowest, others.highest) == (20, 89)
    )
