"""`opq-tools reanalyse`: from the command line alone, on a store of a cloud that is not running."""

import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.mauka.reanalysis.reanalysis_progress import ReanalysisProgress
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.mauka.running.known.provenance import provenance_of
from opq_cloud.store import open_store
from opq_proto.messages import Finding, TimeSource, Trigger, Waveform
from opq_tools.cli import tools

S = 10**9
ZERO_NS = 1_795_000_000 * S


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An analysed event of a dip to 70 %, whose finding says 75 % and not from whom; one not analysed."""
    t_s = np.arange(12_000) / 12_000
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * t_s)
    volts[6000:7200] *= 0.7
    store = open_store(None, tmp_path)
    for number in (0, 1):
        start_ns = ZERO_NS + 100 * number * S
        store.open_event(Trigger(f"t{number}", start_ns, start_ns + S, ("1",), "1", "test"), "test")
        counts = np.round(volts / 0.02).astype(np.int16)
        wave = Waveform("1", start_ns, 1000, TimeSource.GPS, 12_000_000, 0.02, 0, counts)
        store.put_waveform(number + 1, wave)
        store.finish_event(number + 1)
    old = Finding("sag", "1", ZERO_NS + S // 2, ZERO_NS + 6 * S // 10, 1000, True, 90.0, 75.0, 6.0)
    put_findings(store, 1, [old])
    store.mark_analysed(1)
    store.close()
    return tmp_path


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(tools, ["reanalyse", "--from", "2026-11-01", *words, "--data-dir", str(folder)])


def test_a_dry_run_then_a_run_settles(folder: Path) -> None:
    only = ("--analysis", "rms_voltage", "--json")
    below = json.loads(run(folder, *only, "--set", "rms_voltage.sag_percent=60").stdout)
    assert below["finding_changes"] == [], "it is not known that rms_voltage found it"
    dry = json.loads(run(folder, "--dry-run", "--json").stdout)
    (change,) = [one for one in dry["finding_changes"] if one["change"] == "figures"]
    assert (change["finding_id"], change["box_id"], change["before"]["residual_percent"]) == (1, "1", 75.0)
    assert change["after"]["residual_percent"] == pytest.approx(70.0, abs=0.5)
    assert (dry["dry_run"], dry["events"], dry["skipped"]) == (True, 1, {"2": "is not analysed yet"})
    assert json.loads(run(folder, "--json").stdout) == {**dry, "dry_run": False}
    again = run(folder, "--dry-run").stdout
    assert "findings: 1 unchanged, 0 added" in again and "nothing was written: a dry run" in again
    more = json.loads(run(folder, *only, "--set", "rms_voltage.sag_percent=60", "--dry-run").stdout)
    assert [one["change"] for one in more["finding_changes"]] == ["gone"]


def test_an_ended_run_continues(folder: Path) -> None:
    progress = ReanalysisProgress(folder, [provenance_of(one) for one in load_analyses([])])
    before = json.loads(run(folder, "--dry-run", "--json").stdout)
    progress.note_done([1], {**before, "dry_run": False})
    assert json.loads(run(folder, "--dry-run", "--json").stdout)["events"] == 1, "a dry run shows all"
    text = run(folder).stdout
    assert "0 events analysed again" in text and "1 more events were analysed again before" in text
    assert not progress.path.exists(), "it is over"
    progress = ReanalysisProgress(folder, [provenance_of(one) for one in load_analyses([])])
    progress.note_done([1], {**before, "dry_run": False})
    assert json.loads(run(folder, "--json").stdout) == {**before, "dry_run": False}, "what the whole run did"
    assert json.loads(run(folder, "--json").stdout)["events"] == 1


@pytest.mark.slow
def test_another_runs_replacements_are_not_done(folder: Path) -> None:
    deep = "--set", "rms_voltage.sag_percent=60", "--analysis", "rms_voltage", "--json"
    run(folder, "--json")
    first = json.loads(run(folder, *deep).stdout)
    assert first["findings"]["gone"] == 1
    settings = [("rms_voltage", {"sag_percent": 60})]
    ended = ReanalysisProgress(folder, [provenance_of(one) for one in load_analyses(settings)])
    ended.note_done([1], first)
    assert json.loads(run(folder, *deep[2:]).stdout)["findings"]["added"] == 1
    assert json.loads(run(folder, *deep).stdout)["findings"]["gone"] == 1
    with closing(open_store(None, folder)) as store:
        assert store.incidents() == []


def test_an_ended_dry_run_continues_as_dry_run(folder: Path) -> None:
    """A run that writes does not continue a dry run; it begins again."""
    sources = [provenance_of(one) for one in load_analyses([])]
    before = json.loads(run(folder, "--dry-run", "--json").stdout)
    progress = ReanalysisProgress(folder, sources, dry_run=True)
    progress.note_done([1], before)
    text = run(folder, "--dry-run").stdout
    assert "0 events looked at again" in text and "1 more events were analysed again before" in text
    assert not progress.path.exists(), "it is over"
    ReanalysisProgress(folder, sources, dry_run=True).note_done([1], before)
    assert json.loads(run(folder, "--dry-run", "--json").stdout) == before, "what the whole run showed"
    ReanalysisProgress(folder, sources, dry_run=True).note_done([1], before)
    assert json.loads(run(folder, "--json").stdout) == {**before, "dry_run": False}
    assert not progress.path.exists(), "the store is another one now"
    assert json.loads(run(folder, "--dry-run", "--json").stdout)["findings"]["figures"] == 0


@pytest.mark.slow  # test_an_ended_dry_run_continues_as_dry_run always runs
def test_a_dry_run_after_ctrl_c_continues(folder: Path) -> None:
    with closing(open_store(None, folder)) as store:
        first = store.event(1)
        assert first is not None
        for number in range(3, 103):
            start_ns = ZERO_NS + 100 * number * S
            store.open_event(Trigger(f"t{number}", start_ns, start_ns + S, ("1",), "1", "test"), "test")
            store.put_waveform(number, replace(first.waveforms[0], start_ns=start_ns))
            store.finish_event(number)
            store.mark_analysed(number)
    words = ("reanalyse", "--from", "2026-11-01", "--dry-run", "--data-dir", str(folder))
    process = subprocess.Popen(
        [sys.executable, "-c", "from opq_tools.cli import tools; tools()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    notes = folder / "mauka" / "reanalysis"
    while not any(each.stat().st_size for each in notes.glob("dry-run-*.jsonl")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 1 and "the same command goes on from here" in said
    (kept,) = notes.glob("dry-run-*.jsonl")
    done = kept.read_text().count("\n")
    assert 1 <= done < 101
    text = run(folder, "--dry-run").stdout
    assert f"{101 - done} events looked at again" in text
    assert f"{done} more events were analysed again before" in text


def test_a_wrong_name_lists_the_allowed_ones(folder: Path) -> None:
    assert "there are dc_offset" in run(folder, "--analysis", "sags").output
    assert "want e.g. rms_voltage.sag_percent=85" in run(folder, "--set", "sag_percent=85").output
    wrong = run(folder, "--set", "rms_voltage.sag=85")
    assert wrong.exception is not None and "sag" in str(wrong.exception)
