"""Nominal values by owners: a number, what the Box measures, and the grid."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import demo
import pytest

from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.view.pages.account.nominal_form import nominal_misfit, read_nominal_form
from opq_cloud.view.web.forms import SentForm


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    """Box 1 measures 122 V and 60 Hz; Box 4 of its grid is said to have 60 Hz."""
    opened = open_store(None, tmp_path)
    opened.put_box(BoxRecord("1", "Box 1"))
    opened.put_box(BoxRecord("4", "Box 4", nominal_hz=60.0))
    now_ms = time.time_ns() // 1_000_000
    opened.append_measurements([demo.measurement_of(demo.OUTLETS[0], now_ms, 1)])
    yield opened
    opened.close()


def asked(store: CloudStore, box_id: str = "1", **fields: str) -> BoxRecord:
    return read_nominal_form(SentForm(fields), store, box_id)


def test_empty_fields_stay_and_fitting_ones_change(store: CloudStore) -> None:
    """Valid fields are stored."""
    store.put_box(asked(store, nominal_v="120", nominal_hz="60"))
    box = store.box("1")
    assert box is not None and (box.nominal_v, box.nominal_hz, box.name) == (120.0, 60.0, "Box 1")
    store.put_box(asked(store, nominal_v="115"))
    box = store.box("1")
    assert box is not None and (box.nominal_v, box.nominal_hz) == (115.0, 60.0)
    store.put_box(asked(store))
    assert store.box("1") == box


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"nominal_v": "much"}, "The nominal voltage is much; want a number from"),
        ({"nominal_v": "nan"}, "The nominal voltage is nan"),
        ({"nominal_v": "-120"}, "want a number from"),
        ({"nominal_v": "230"}, "so its nominal voltage cannot be 230 V"),
        ({"nominal_hz": "50"}, "so its nominal frequency cannot be 50 Hz"),
    ],
)
def test_what_does_not_fit_says_why(store: CloudStore, fields: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        asked(store, **fields)


def test_a_silent_box_is_held_to_its_grid(store: CloudStore) -> None:
    store.put_box(BoxRecord("7", "Box 7"))
    with pytest.raises(ValueError, match="The other Boxes of this grid have 60 Hz"):
        asked(store, "7", nominal_hz="50")
    assert asked(store, "7", nominal_v="230", nominal_hz="60").nominal_v == 230.0
    store.put_box(BoxRecord("7", "", grid="island"))
    assert asked(store, "7", nominal_hz="50").nominal_hz == 50.0


def test_another_nominal_voltage_is_noticed() -> None:
    """A disturbance is not taken for one."""
    measured = demo.measurement_of(demo.OUTLETS[0], 0, 1)  # 122 V, 60 Hz
    assert nominal_misfit(measured, 120.0, 60.0) == ""
    assert nominal_misfit(measured, 230.0, 60.0) == "", "an undervoltage to 53 % measures the same"
    assert nominal_misfit(measured, 120.0, 50.0).startswith("It measures 122 V, 60.0 Hz where 120 V, 50 Hz")
    assert "where 57.7 V, 60 Hz are nominal" in nominal_misfit(measured, 57.7, 60.0)
    assert nominal_misfit(replace(measured, metrics={}), 57.7, 60.0) == ""
