"""Steady states that began together at several Boxes are one row of a list, and only these."""

from dataclasses import dataclass

from opq_cloud.view.pages.drawing.alike_incidents import fold

BASE_NS = 1_795_500_000_000_000_000


@dataclass(frozen=True)
class Known:
    incident_id: int
    kind: str
    start_ns: int


def _known(number: int, kind: str, after_s: float) -> Known:
    return Known(number, kind, BASE_NS + round(after_s * 1e9))


def test_steady_states_beginning_together_are_one_row() -> None:
    """Steady states that began within seconds are one row in the place of the first."""
    rows = fold(
        [
            _known(9, "sag", 2.0),
            _known(8, "flicker", 1.0),
            _known(7, "harmonics", 0.9),
            _known(6, "flicker", 0.0),
            _known(5, "flicker", -2.1),
        ],
        9,
    )
    assert [(row.first.incident_id, [each.incident_id for each in row.others]) for row in rows] == [
        (9, []),
        (8, [6]),
        (7, []),
        (5, []),
    ]
    assert [row.words for row in rows] == ["", "and 1 like it", "", ""]


def test_dips_of_one_moment_stay_apart() -> None:
    assert len(fold([_known(2, "sag", 0.0), _known(1, "sag", 0.0), _known(3, "sag+flicker", 0.0)], 9)) == 3


def test_a_row_of_several_links_to_all() -> None:
    alone, several = fold([_known(4, "sag", 0.0), *(_known(each, "flicker", 0.25) for each in (3, 2, 1))], 9)
    assert alone.address == "/incidents/4"
    assert several.address == (
        "/incidents?class=flicker&from=2026-11-24T05%3A59%3A57&to=2026-11-24T06%3A00%3A07"
    )


def test_what_is_folded_takes_no_row_from_others() -> None:
    read = [*(_known(each, "flicker", 0.0) for each in range(12, 4, -1)), _known(4, "sag", -9.0)]
    assert [row.first.incident_id for row in fold(read, 2)] == [12, 4]
    assert [len(row.others) for row in fold(read, 1)] == [7], "beyond the last row it is still counted"
