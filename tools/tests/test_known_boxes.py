"""A Box that the store does not know is an error of each command with --box, not an empty answer."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import BoxRecord, open_store
from opq_proto.messages import Disturbance, Finding, Measurement
from opq_tools.cli import tools
from opq_tools.shared.opened_store import BoxNotKnownError, check_known_boxes

S = 10**9
ZERO_NS = 1_795_000_000 * S


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Box 1 and 2 of the site mill are stated; of Box 4 there is a finding, of Box 5 a disturbance."""
    made = tmp_path_factory.mktemp("known")
    store = open_store(None, made)
    for box_id, phase in ("1", "L1"), ("2", "L2"):
        store.put_box(BoxRecord(box_id, f"Box {box_id}", site="mill", phase=phase))
    put_findings(store, 1, [Finding("sag", "4", ZERO_NS, ZERO_NS + S, 1000, True, residual_v=84.0)])
    dip = Disturbance("5", "dip", ZERO_NS, ZERO_NS + S, 5, 80.0)
    store.intervals.append([Measurement("5", 1, {}, ZERO_NS, ZERO_NS + S, 5, sequence=1, disturbance=dip)])
    store.close()
    return made


@pytest.mark.parametrize(
    "words",
    [
        ("export", "intervals"),
        ("export", "trends"),
        ("export", "disturbances"),
        ("export", "changes"),
        ("export", "measurements"),
        ("export", "incidents"),
        ("changes",),
        ("incidents", "show"),
        ("events", "show"),
        ("report", "--week", "2026-W40"),
        ("rules", "backtest", "SELECT box FROM boxes"),
    ],
)
def test_an_unknown_box_is_an_error(words: tuple[str, ...], folder: Path) -> None:
    done = CliRunner().invoke(tools, [*words, "--box", "99", "--data-dir", str(folder)])
    text = f"{done.exception} {done.output}"
    assert done.exit_code != 0 and "99" in text and "known: 1, 2" in text, text


def test_a_meter_beside_an_unknown_box_is_refused(folder: Path, tmp_path: Path) -> None:
    (meter := tmp_path / "meter.csv").write_text("time,voltage [V]\n2026-10-01T00:00:00Z,230.1\n")
    done = CliRunner().invoke(tools, ["reference", "compare", "99", str(meter), "--data-dir", str(folder)])
    text = f"{done.exception} {done.output}"
    assert done.exit_code != 0 and "99" in text and "known: 1, 2" in text, text


def test_limits_of_an_unknown_box_are_refused(folder: Path) -> None:
    where = ("--data-dir", str(folder))
    assert CliRunner().invoke(tools, ["limits", "set", "ref_v=230", "ref_hz=50", *where]).exit_code == 0
    refused = CliRunner().invoke(tools, ["limits", "set", "--box", "99", "percent_v_low=15", *where])
    assert isinstance(refused.exception, BoxNotKnownError) and "Box 99 is not known" in str(refused.exception)


def test_data_without_facts_make_a_box_known(folder: Path) -> None:
    store = open_store(None, folder)
    check_known_boxes(store, ["1", "4", "5", ""])
    with pytest.raises(BoxNotKnownError, match=r"Box 99 is not known; known: 1, 2.*mill"):
        check_known_boxes(store, ["1", "99"], ["mill"])
    store.close()


def test_an_interval_export_takes_a_site(folder: Path) -> None:
    done = CliRunner().invoke(tools, ["export", "intervals", "--box", "mill", "--data-dir", str(folder)])
    assert done.exit_code == 0, done.output


def test_splitting_off_names_the_boxes_there_are(folder: Path) -> None:
    done = CliRunner().invoke(tools, ["incidents", "split", "1", "--box", "9", "--data-dir", str(folder)])
    assert "no finding of Box 9; it has some of: 4" in str(done.exception)
