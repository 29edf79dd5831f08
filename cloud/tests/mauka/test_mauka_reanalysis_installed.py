"""Re-analysis asks installed analyses too, in the version of the moment; what people said stays."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from plugin_zips import manifest, stored, zipped

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.mauka import InstalledAnalysesSection, MaukaSection
from opq_cloud.mauka.reanalysis.reanalysis_run import AnalysisChoiceError, ReanalysisOrder, run_reanalysis
from opq_cloud.mauka.reanalysis.report_json import report_json, report_lines
from opq_cloud.operations.incident_edits import IncidentEditor
from opq_cloud.store import CloudStore, open_store
from opq_plugins.host.plugins import Plugins
from opq_plugins.policy import Policy
from opq_proto.messages import TimeSource, Trigger, Waveform

ZERO_NS = 1_795_000_000 * 10**9
CODE = '''
"""Gives each Box of an event one finding."""
from dataclasses import dataclass

from opq_proto.messages import Event, Finding

name = "marks"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config:
    kind: str = "KIND"


def analyse(event, config):
    return [
        Finding(config.kind, wave.box_id, wave.start_ns, wave.end_ns, 1000, because="marked")
        for wave in event.waveforms
    ]
'''


class Cloud:
    """A store with an analysed event, and Makai's host beside it."""

    def __init__(self, folder: Path) -> None:
        self.host = Plugins(folder / "rules", Policy(trusted=frozenset({"marks"})))
        self.store: CloudStore = open_store(None, folder)
        plugins = InstalledAnalysesSection(trusted=("marks",))
        self.config = CloudConfig(data_dir=folder, mauka=MaukaSection(plugins=plugins))
        trigger = Trigger("t", ZERO_NS, ZERO_NS + 10**9, ("1",), "1", "test")
        event_id = self.store.open_event(trigger, "test")
        counts = np.round(9000 * np.sin(2 * np.pi * 60 * np.arange(12_000) / 12_000)).astype(np.int16)
        wave = Waveform("1", ZERO_NS, 1000, TimeSource.GPS, 12_000_000, 120 * np.sqrt(2) / 9000, 0, counts)
        self.store.put_waveform(event_id, wave)
        self.store.finish_event(event_id)
        self.store.mark_analysed(event_id)

    def install(self, version: str, kind: str) -> None:
        told = manifest("marks", version, kind="analysis", mode="inproc")
        files = {"plugin.json": told, "analyses/marks.py": CODE.replace("KIND", kind)}
        self.host.create("analysis", "marks", stored(self.host.uploads, zipped(files)))

    def again(self, dry_run: bool = False, *names: str, **settings: object) -> dict[str, object]:
        changed = {"marks": settings} if settings else {}
        order = ReanalysisOrder(ZERO_NS - 10**9, None, dry_run, names, changed)
        return report_json(run_reanalysis(self.config, self.store, order), dry_run)

    def said(self) -> list[tuple[int, str, str | None, str | None]]:
        """(number, class, what the machine says beside a label, version) of each incident."""
        return [
            (one.incident_id, one.kind, one.machine_kind, one.findings[0].finding.analysis_version)
            for one in self.store.incidents(limit=10)
        ]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(tmp_path)
    yield made
    made.host.close()
    made.store.close()


def test_the_installed_version_replaces_older_findings(cloud: Cloud) -> None:
    """A person's label stays."""
    assert cloud.again()["findings"]["added"] == 0  # type: ignore[index]
    cloud.install("1.0.0", "flicker")
    dry = cloud.again(True)
    assert dry["findings"]["added"] == 1 and cloud.said() == []  # type: ignore[index]
    assert cloud.again()["findings"] == dry["findings"]
    assert cloud.said() == [(1, "flicker", None, "1.0.0")]
    IncidentEditor(cloud.store).label_incident(1, "noise", ["noise"])
    cloud.install("2.0.0", "harmonics")
    assert cloud.again(False, "rms_voltage")["finding_changes"] == [], "another one was asked"
    (change,) = cloud.again(False, "marks")["finding_changes"]  # type: ignore[misc, attr-defined]
    assert (change["change"], change["finding_id"]) == ("class", 1)
    assert cloud.said() == [(1, "noise", "harmonics", "2.0.0")]
    assert cloud.again(False, "marks", kind="flicker")["findings"]["class"] == 1  # type: ignore[index]
    assert cloud.said() == [(1, "noise", "flicker", "2.0.0")]


def test_an_analysis_that_fails_keeps_its_findings(cloud: Cloud) -> None:
    """It does not start, and is named."""
    cloud.install("1.0.0", "flicker")
    cloud.again()
    with pytest.raises(AnalysisChoiceError, match=r"'marks' is installed and does not run: .*no_such"):
        cloud.again(False, "marks", no_such=1)
    with pytest.raises(AnalysisChoiceError, match=r"'mark' is not an analysis .* flicker, .*, marks, "):
        cloud.again(False, "mark")
    order = ReanalysisOrder(ZERO_NS - 10**9, None, False)
    code = next((cloud.config.data_dir or Path()).glob("rules/plugins/**/marks.py"))
    code.write_text("this is not Python")
    report = run_reanalysis(cloud.config, cloud.store, order)
    assert list(report.not_run) == ["marks"] and report.counts()["gone"] == 0
    assert any("the findings of marks stay as they were" in line for line in report_lines(report, False, 10))
    assert cloud.said() == [(1, "flicker", None, "1.0.0")]
