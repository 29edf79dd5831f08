"""Public recordings of other instruments: what we read against independent readers and what the source says.

The recordings are not part of the toolkit. `opq-tools recordings get --out FOLDER --list` fetches them, and
OPQ_RECORDINGS=FOLDER runs these tests.
"""

import contextlib
import csv
import os
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opq_analyze.measuring import measured
from opq_measure.events.limits import Limits
from opq_proto.errors import RecordingError
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import read_recording
from opq_recordings.recording import Channel, Recording
from opq_recordings.written_times import written_time
from opq_tools.recordings.public import PublicRecording, read_list

DOCS = Path(__file__).parents[2] / "docs" / "recordings.md"
FOLDER = os.environ.get("OPQ_RECORDINGS", "")
LISTED = read_list()
READ = [each for each in LISTED if "read" in each.facts]
REFUSED = [each for each in LISTED if "refused" in each.facts]
FLOAT32 = 1e-6
"""The comtrade package keeps its values as float32."""


def identity(listed: PublicRecording) -> str:
    return str(listed.opened)[-60:]


def opened(listed: PublicRecording) -> Path:
    if not FOLDER:
        pytest.skip("OPQ_RECORDINGS names no folder with public recordings")
    path = Path(FOLDER) / listed.opened
    if not path.exists():
        pytest.skip(f"{path} is not there; opq-tools recordings get --out {FOLDER} --list")
    return path


def given(listed: PublicRecording, **more: Any) -> RecordingFacts:
    stated = listed.facts.get("given", {})
    assert isinstance(stated, dict)
    return RecordingFacts(**{**stated, **more})


def read(listed: PublicRecording, **more: Any) -> Recording:
    return read_recording(opened(listed), given(listed, **more))


def named(end: str) -> PublicRecording:
    return next(each for each in LISTED if str(each.opened).endswith(end))


@pytest.mark.parametrize("listed", READ, ids=identity)
def test_a_recording_is_read_as_it_is_known(listed: PublicRecording) -> None:
    found, facts = read(listed), listed.facts
    assert (found.form, len(found.channels)) == (facts["read"], facts["channels"])
    assert (found.channel.name, found.samples, len(found.gaps)) == (
        facts["channel"],
        facts["samples"],
        facts.get("gaps", 0),
    )
    assert found.rate_hz == pytest.approx(facts["rate_hz"], rel=1e-6)
    stated = written_time(str(facts["start"])) if "start" in facts else None
    assert found.start_ns == (stated.t_ns if stated else None)
    assert sorted(found.assumed) == facts.get("assumed", [])


@pytest.mark.parametrize("listed", REFUSED, ids=identity)
def test_a_recording_without_voltage_is_refused(listed: PublicRecording) -> None:
    with pytest.raises(RecordingError) as refused:
        read(listed)
    assert str(listed.facts["refused"]) in str(refused.value)


@pytest.mark.parametrize("listed", [each for each in READ if "hz" in each.facts], ids=identity)
def test_what_is_measured_is_what_is_known(listed: PublicRecording) -> None:
    found = measured(read(listed), Limits()).summary("")
    frequency, rms = found["frequency_hz"], found["rms_v"]
    assert isinstance(frequency, dict) and isinstance(rms, dict)
    assert frequency["mean"] == pytest.approx(listed.facts["hz"], abs=0.02)
    assert rms["median"] == pytest.approx(listed.facts["rms_v"], rel=2e-3)


@pytest.mark.parametrize("listed", [each for each in READ if "event_s" in each.facts], ids=identity)
def test_what_happens_first_is_when_the_source_says(listed: PublicRecording) -> None:
    events = measured(read(listed), Limits()).summary("")["events"]
    assert isinstance(events, list)
    when_s = float(str(listed.facts["event_s"]))
    assert min(abs(each["start_s"] - when_s) for each in events) < 0.055, events[:5]


@pytest.mark.parametrize(
    "listed", [each for each in READ if str(each.facts["read"]).startswith("COMTRADE")], ids=identity
)
def test_the_values_are_those_of_an_independent_reader(listed: PublicRecording) -> None:
    ours, theirs = read(listed), by_comtrade(listed, str(read(listed).assumed.get("encoding", "utf-8")))
    names = [each.strip() for each in theirs.analog_channel_ids]
    compared = 0
    for place, channel in enumerate(ours.channels):
        same = len(names) == len(ours.channels)
        if not same and names.count(channel.name) != 1:
            continue  # two channels of one name cannot be told apart there
        known = np.asarray(theirs.analog[place if same else names.index(channel.name)], dtype=np.float64)
        values = as_written(channel)[: len(known)]  # it cuts off rows that the .cfg does not state
        most = max(np.nanmax(np.abs(known)), 1e-30)
        assert np.nanmax(np.abs(values - known)) <= FLOAT32 * most, channel.name
        compared += 1
    assert compared >= 0.8 * len(ours.channels)


def by_comtrade(listed: PublicRecording, encoding: str) -> Any:
    path = opened(listed)
    import comtrade  # loads pandas, which no other file of tests does when it is collected

    theirs = comtrade.Comtrade(ignore_warnings=True)
    for page in (encoding, "latin-1"):
        try:
            if path.suffix.lower() == ".cff":
                theirs.load(str(path))
            else:
                theirs.load(
                    str(path), str(Path(FOLDER) / listed.repository / list(listed.files)[1]), encoding=page
                )
        except UnicodeDecodeError:
            continue
        except Exception as error:  # it refuses what it does not know
            pytest.skip(f"the comtrade package does not read it: {type(error).__name__}: {error}")
        return theirs
    pytest.skip("the comtrade package does not decode it")


def as_written(channel: Channel) -> Any:
    """The values in the unit of the file."""
    from opq_recordings.units import unit_scale

    known = unit_scale(channel.unit or "")
    factor = known[1] if known else 1.0
    scale, offset = (channel.scale or 1.0) / factor, channel.offset / factor
    return scale * channel.values.astype(np.float64) + offset


def test_wav_samples_equal_an_independent_readers() -> None:
    for listed in (each for each in READ if str(each.facts["read"]).startswith("WAV")):
        with contextlib.closing(wave.open(str(opened(listed)))) as file:
            known = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
            assert file.getframerate() == read(listed).rate_hz
        assert np.array_equal(read(listed).channel.values, known)


def test_csv_cells_equal_an_independent_readers() -> None:
    for listed in (each for each in READ if each.facts["read"] == "CSV"):
        found = read(listed)
        with opened(listed).open(encoding="latin-1", newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) >= 2]
        column = next((row.index(found.channel.name) for row in rows if found.channel.name in row), 1)
        cells = [number for row in rows if (number := _number(row, column)) is not None]
        assert np.allclose(found.channel.values, cells[-found.samples :], rtol=0, atol=0), listed.opened


def _number(row: Sequence[str], column: int) -> float | None:
    try:
        return float(row[column])
    except (ValueError, IndexError):
        return None


BUS = tuple(f"SBUS {letter}          V-node" for letter in "ABC")


@pytest.mark.parametrize(
    ("end", "phases", "faulted", "at_s"),
    [
        ("f1_1b274run.cfg", BUS, "B", 0.25),
        ("f2_1bc392run.cfg", BUS, "BC", 0.25),
        ("f3_43abc675run.cfg", BUS, "ABC", 0.25),
        ("Fault_AG.csv", ("va", "vb", "vc"), "A", 0.3),
        ("Fault_A-B-C.csv", ("va", "vb", "vc"), "ABC", 0.25),
    ],
)
def test_the_phases_that_the_source_says_dip(
    end: str, phases: Sequence[str], faulted: str, at_s: float
) -> None:
    listed = named(end)
    rms = {}
    for letter, channel in zip("ABC", phases, strict=True):
        found = read(listed, channel=channel)
        cycle = round(found.rate_hz / (60 if end.endswith(".cfg") else 50))
        rms[letter] = [
            float(np.sqrt(np.mean(found.volts(first, first + cycle) ** 2)))
            for first in (0, round(at_s * found.rate_hz))
        ]
    assert {each for each, (before, during) in rms.items() if during < 0.9 * before} == set(faulted), rms


def test_the_docs_table_equals_the_list() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for row in table():
        assert row in text, (
            f"docs/recordings.md lacks the row; python tools/tests/{Path(__file__).name} prints it"
        )
    assert len(LISTED) >= 40 and len({each.repository for each in LISTED}) >= 10


def table() -> list[str]:
    """The rows of docs/recordings.md."""
    rows, last = [], ""
    for each in LISTED:
        facts = each.facts
        source = f"{each.repository} @ {each.commit[:8]}, {each.licence}" if each.repository != last else ""
        last = each.repository
        if "refused" in facts:
            read, found = "refused", f"{facts['refused']}"
        else:
            read = f"{facts['read']}; {facts['channels']} × {facts['samples']} at {facts['rate_hz']:g} Hz"
            read += f", {facts['gaps']} gaps" if "gaps" in facts else ""
            parts = [f"{facts['channel']}:"]
            parts += [f"{facts['rms_v']:.5g} V"] if "rms_v" in facts else []
            parts += [f"{facts['hz']:.5g} Hz"] if "hz" in facts else []
            parts += list(facts["faults"]) if isinstance(facts.get("faults"), list) else []
            found = " ".join(parts) if len(parts) > 1 else f"{facts['channel']}"
        says = str(facts.get("source_says", ""))
        rows.append(f"| {source} | {each.opened.name} | {facts['what']} | {read} | {found} | {says} |")
    return rows


if __name__ == "__main__":
    print("\n".join(table()))
