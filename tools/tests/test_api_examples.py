"""The Python of docs/api.md and its notebook read a running View."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import demo
import pytest

API_MD = Path(__file__).resolve().parents[2] / "docs" / "api.md"
NOTEBOOK = API_MD.parent / "examples" / "first-dip" / "first_dip.ipynb"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("view"), poll_s=0.2)
    demo.fill(running.store, time.time_ns(), minutes=1)
    with running:
        yield running


def run(program: str, scene: demo.Scene, found: dict[str, object]) -> dict[str, object]:
    exec(program.replace("http://127.0.0.1:8888", scene.url), found)
    return found


def test_the_page_draws_and_reads_the_feed(
    scene: demo.Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    picture, feed = re.findall(r"```python\n(.*?)```", API_MD.read_text(encoding="utf-8"), re.DOTALL)
    wave = run(picture, scene, {})["wave"]
    event = scene.store.event(1)
    assert (tmp_path / "dip.png").read_bytes()[:4] == b"\x89PNG"
    assert event is not None and isinstance(wave, dict)
    assert wave["counts"] == event.waveforms[0].counts.tolist()
    run(feed, scene, {})
    assert json.loads(capsys.readouterr().out)["box_id"] == "4"


def test_the_notebook_runs_completely(scene: demo.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    found: dict[str, object] = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            run("".join(cell["source"]), scene, found)
    dip = found["dip"]
    assert isinstance(dip, dict)
    assert found["residual_percent"] == pytest.approx(dip["residual_percent"], abs=0.1)
