"""`opq-tools plugin`: what `new` writes works at once, in the real worker and by its own test."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from command_in_process import run_in_process
from house_under_test import house, until

import opq_plugins.sdk
from opq_plugins.host.worker import remote
from opq_plugins.package.archive import signature_bytes
from opq_proto.errors import PluginError
from opq_proto.keys.signing import firmware_public_key, new_key
from opq_proto.kit.ports import PORTS
from opq_tools.rules.plugin import command
from opq_tools.rules.plugin.trial_data_set import TriedRecording, looked_for, score_of

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger of a busy machine answers late; no trigger here hangs."""
    for name in ("DECIDE_S", "BEGIN_S"):
        monkeypatch.setattr(remote, name, 60.0)


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(command, [str(each) for each in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return 1, str(done.exception)
    return done.exit_code, done.stdout or done.output


@pytest.mark.parametrize(
    "kind",
    [
        "sink",
        pytest.param("source", marks=pytest.mark.slow),
        pytest.param("function", marks=pytest.mark.slow),
        "trigger",
        "analysis",
    ],
)
def test_a_new_plugin_passes_and_packs_reproducibly(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "mine"
    code, said = run("new", kind, "mine", folder)
    assert code == 0 and str(folder / "plugin.json") in said
    folders = {"trigger": {"triggers"}, "analysis": {"analyses"}}.get(kind, {"sources", "sinks", "functions"})
    assert folders | {"tests", "Dockerfile", "samples.json"} <= {p.name for p in folder.iterdir()}
    code, said = run("test", folder, "--json", "--seconds", 60)
    told = json.loads(said)
    assert (
        code == 0 and told["good"] and told["results"]["mine 1.0.0"] == "ok" and len(told["results"]) > 1
    ), said
    assert "system calls" in told["protections"]
    own = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests")]
    done = subprocess.run(own, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout
    for out in ("a.zip", "b.zip"):
        assert run("pack", folder, "--out", tmp_path / out)[0] == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    code, said = run("test", tmp_path / "a.zip", "--seconds", 60)
    assert code == 0 and "mine 1.0.0: ok" in said


def test_a_plugin_uses_only_its_declared_resources(tmp_path: Path) -> None:
    """Network and folders are those that its test declares."""
    folder, open_one = tmp_path / "mine", Path(tempfile.mkdtemp(dir=tmp_path))
    open_one.chmod(0o777)
    assert run("new", "sink", "mine", folder)[0] == 0
    code = (folder / "sinks/mine.py").read_text()
    (folder / "sinks/mine.py").write_text(
        code.replace("import json", "import json\nimport socket", 1).replace(
            "self._path = ", "socket.socket()\n        self._path = "
        )
    )
    samples = (folder / "samples.json").read_text()
    (folder / "samples.json").write_text(samples.replace("/dev/null", str(open_one / "rows")))
    assert "not allowed: tcp:PORT or listen:PORT is not in [plugins] network" in run("test", folder)[1]
    assert "Permission denied" in run("test", folder, "--network", "tcp:3306")[1]
    done, said = run("test", folder, "--network", "tcp:3306", "--writable", open_one)
    assert done == 0 and len((open_one / "rows").read_text().splitlines()) == 2, said
    assert run("test", folder, "--network", "tcp:99999")[0] == 2


def test_new_does_not_write_over_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, said = run("new", "sink", "mine", tmp_path)
    assert code == 1 and "not empty" in said and [p.name for p in tmp_path.iterdir()] == ["file"]
    assert "want letters" in run("new", "sink", "../x", tmp_path / "n")[1]


def test_a_failed_sample_is_exit_code_1(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    run("new", "function", "mine", folder)
    (folder / "samples.json").write_text('{"functions": {"mine": {"cases": [{"args": [1], "want": 3}]}}}')
    code, said = run("test", folder)
    assert code == 1 and "gave 2; want 3" in said
    (folder / "functions" / "mine.py").write_text("1 / 0")
    code, said = run("test", folder)
    assert code == 1 and "ZeroDivisionError" in said


def test_a_different_judgement_is_reported(tmp_path: Path) -> None:
    for kind, folder_of, old, new in (
        ("trigger", "triggers", '"decides": true', '"decides": false'),
        ("analysis", "analyses", '"finds": 1', '"finds": 2'),
    ):
        folder = tmp_path / f"a-{kind}"
        run("new", kind, "mine", folder)
        samples = folder / "samples.json"
        samples.write_text(samples.read_text().replace(old, new))
        code, said = run("test", folder)
        assert code == 1 and "want" in said and "60.0 V is below 96.0 V" in said, said
        (folder / folder_of / "mine.py").write_text("x = 1")
        code, said = run("test", folder)
        assert code == 1 and f"a {kind} plug-in has one" in said


@pytest.mark.parametrize(
    ("kind", "name", "file"),
    [
        ("trigger", "loud", "triggers/loud.py"),
        ("analysis", "peak", "analyses/peak.py"),
        ("analysis", "by_class", "analyses/by_class.py"),
        ("analysis", "often_low", "analyses/often_low.py"),
    ],
)
def test_the_guides_plugins_pass_their_samples(tmp_path: Path, kind: str, name: str, file: str) -> None:
    page = "plugins-triggers.md" if kind == "trigger" else "plugins-analyses.md"
    guide = (EXAMPLES.parent / page).read_text(encoding="utf-8")
    run("new", kind, name, tmp_path)
    (code,) = re.findall(rf'```python\n("""{name}:.*?)```', guide, re.DOTALL)
    (tmp_path / file).write_text(code)
    (samples,) = (
        each for each in re.findall(r"```json\n(.*?)```", guide, re.DOTALL) if f'"{name}": {{' in each
    )
    (tmp_path / "samples.json").write_text(samples)
    status, said = run("test", tmp_path)
    assert status == 0 and f"{kind} {name} refuses" in said and f"{kind} {name}, " in said, said


def commands_of_guide(heading: str) -> list[list[str]]:
    """The words of each command in the shell blocks of a section of the guide."""
    guide = (EXAMPLES.parent / "plugins-analyses.md").read_text(encoding="utf-8")
    section = guide.split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [shlex.split(line) for line in "".join(blocks).splitlines()]


def test_the_ten_minute_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "opq_tools.rules.plugin.trial_data_set.CLASSES", ("none", "sag", "swell", "interruption")
    )
    heard = []
    for words in commands_of_guide("An analysis in ten minutes"):
        if words[0] == "sed":
            subprocess.run(words, check=True)
        elif words[1] == "plugin" and words[2] != "install":
            code, said = run(*words[2:])
            assert code == 0, said
            heard += [line for line in said.splitlines() if " on the Sim, " in line]
    assert [re.findall(r"(precision|recall) ([\d.]+) %", line) for line in heard] == [
        [("precision", "100.0"), ("recall", "87.5")],
        [("precision", "100.0"), ("recall", "100.0")],
    ]
    assert zipfile.is_zipfile("deep-dip.zip")


def test_a_new_analysis_is_scored_on_the_sim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opq_tools.rules.plugin.trial_data_set.CLASSES", ("none", "interruption", "swell"))
    folder = tmp_path / "low"
    assert run("new", "analysis", "low_v", folder, "--takes", "Measurement")[0] == 0
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder / "tests"]
    own = subprocess.run(tests, capture_output=True, check=False)
    assert own.returncode == 0, own.stdout
    code, said = run("test", folder, "--data-set", "1")
    assert code == 0 and "analysis low_v, measurement 3: ok" in said, said
    found = re.findall(r"(\w+) +found in (\d) of 2", said)
    assert found[0] == ("none", "0") and found[2] == ("swell", "0") and found[1] >= ("interruption", "1")
    samples = folder / "samples.json"
    samples.write_text(samples.read_text().replace('"finds": 1', '"finds": 2'))
    code, said = run("test", folder)
    assert code == 1 and "gave 1 (low_v: low_v: 60.0 V at least, 96.0 V is the limit); want 2" in said
    code, said = run("new", "sink", "mine", tmp_path / "sink", "--takes", "Measurement")
    assert code == 2 and "--takes is for an analysis" in said


@pytest.mark.parametrize(
    ("takes", "case", "seen"),
    [
        ("Trend", {"metrics": {"rms": [50, 121, 119]}}, 'item.metrics.get("rms") == (50.0, 121.0, 119.0)'),
        pytest.param(
            "Finding",
            {"kind": "swell", "box": 4, "start_s": 2, "end_s": 3},
            "item.end_ns - item.start_ns == 10**9",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "Incident",
            {"kind": "sag", "boxes": [1, 2], "severity": 4.0},
            'item.box_ids == ("1", "2")',
            marks=pytest.mark.slow,
        ),
    ],
)
def test_other_items_are_made_from_samples(
    tmp_path: Path, takes: str, case: dict[str, Any], seen: str
) -> None:
    run("new", "analysis", "mine", tmp_path)
    (tmp_path / "analyses" / "mine.py").write_text(
        f"from dataclasses import dataclass\nfrom opq_proto.messages import Message, {takes}\n"
        f"name = 'mine'\ntakes, gives = {takes}, Message\n"
        "@dataclass(frozen=True)\nclass Config:\n    x: int = 0\n"
        f"def analyse(item, config):\n    return [Message({{'a': 1}})] if {seen} else []\n"
    )
    cases = [{**case, "finds": 1}, {"finds": 0, "box": 9, "boxes": [9]}]
    about = {"analyses": {"mine": {"looks_for": ["sag"], "cases": cases}}}
    (tmp_path / "samples.json").write_text(json.dumps(about))
    code, said = run("test", tmp_path)
    assert code == 0 and f"analysis mine, {takes.lower()} 2: ok" in said, said
    code, said = run("test", tmp_path, "--data-set", "1")
    assert code == 1 and f"takes {takes} and gives Message; a data set is recordings" in said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_guides_analysis_finds_a_dip_live(tmp_path: Path) -> None:
    """The analysis of the guide is installed in a running system."""
    folder = tmp_path / "deep-dip"
    assert run("new", "analysis", "deep_dip", folder)[0] == 0
    assert run("pack", folder, "--out", tmp_path / "deep-dip.zip")[0] == 0
    with house(tmp_path / "up", "--sim", "2") as up:
        up.wait_for("the page is up")
        url = f"http://127.0.0.1:{PORTS['rules'] + up.offset}"
        install = ("plugin", "install", "analysis", "deep_dip", "-z", str(tmp_path / "deep-dip.zip"))
        until(lambda: run_in_process(*install, "--url", url).returncode == 0, 60, "it is installed")
        shown = ("plugin", "show", "analysis", "deep_dip", "--url", url)
        until(lambda: '"running": "1.0.0"' in run_in_process(*shown).stdout, 60, "Mauka runs it")
        dip = ("sim", "event", "sag", "--box", "1", "--depth", "0.5", "--cycles", "12")

        def found() -> bool:
            listed = ("incidents", "show", "--json", "--data-dir", str(tmp_path / "up"))
            each = json.loads(run_in_process(*listed).stdout or "[]")
            return any(one["analysis"] == "deep_dip" for incident in each for one in incident["found_by"])

        until(
            lambda: run_in_process(*dip, "--data-dir", str(tmp_path / "up")).returncode == 0,
            60,
            "a dip begins",
        )
        until(found, 90, "an incident that deep_dip found")


def test_a_data_set_counts_hits_and_misses() -> None:
    found, nothing = frozenset({"mine"}), frozenset[str]()
    tried = [
        TriedRecording("sag", found),
        TriedRecording("sag", nothing),
        TriedRecording("harmonics+sag", found),
        TriedRecording("swell", found),
        TriedRecording("none", nothing),
    ]
    score = score_of(tried, ["sag"])
    assert (score.right, score.wrong, score.missed, score.recordings) == (2, 1, 1, 5)
    assert (score.precision, score.recall) == (2 / 3, 2 / 3)
    assert score.by_class["swell"] == (1, 1) and score.as_json()["finds"] == ["sag"]
    assert [line.strip() for line in score.lines() if "<-" in line] == [
        "sag                      found in 1 of 2  <- missed",
        "swell                    found in 1 of 1  <- wrongly found",
    ]
    assert score_of([], ["sag"]).precision is None


def test_an_analysis_looks_for_data_set_classes() -> None:
    assert looked_for("sag", {}) == ("sag",)
    for wrong in ({}, {"looks_for": []}, {"looks_for": ["none"]}, {"looks_for": "sag"}):
        with pytest.raises(PluginError, match="want a list of some of sag, swell"):
            looked_for("mine", wrong)


def test_pack_signs_the_manifest(tmp_path: Path) -> None:
    public = new_key(tmp_path / "key.pem")
    run("new", "sink", "mine", tmp_path / "mine")
    code, _ = run("pack", tmp_path / "mine", "--out", tmp_path / "m.zip", "--sign", tmp_path / "key.pem")
    assert code == 0
    with zipfile.ZipFile(tmp_path / "m.zip") as archive:
        manifest, signature = archive.read("plugin.json"), archive.read("plugin.json.sig")
    raw = signature_bytes(signature)
    assert raw is not None and firmware_public_key(public).is_signed(raw, manifest)
    assert set(json.loads(manifest)["sha256"]) >= {"sinks/mine.py", "sinks/mine.json"}


def test_the_mysql_example_is_as_the_guide_says() -> None:
    code, said = run("test", EXAMPLES / "mysql-sink")
    assert code == 0 and "mysql 1.0.0: ok" in said and "refuses" in said, said


@pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="no C compiler")
def test_the_example_in_c_builds_and_passes(tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLES / "clip-c", tmp_path / "clip")
    header = Path(opq_plugins.sdk.__file__).parent
    subprocess.run(["make", f"INCLUDE={header}"], cwd=folder, check=True, timeout=240)
    code, said = run("test", folder)
    assert code == 0 and said.count("function clip") == 4, said


@pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="no C compiler")
def test_the_c_trigger_builds_and_decides(tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLES / "dip-c", tmp_path / "dip")
    header = Path(opq_plugins.sdk.__file__).parent
    subprocess.run(["make", f"INCLUDE={header}"], cwd=folder, check=True, timeout=240)
    code, said = run("test", folder)
    assert code == 0 and said.count("trigger dip, measurement") == 6 and "refuses" in said, said


def test_each_command_says_how_by_an_example() -> None:
    for name in ("new", "test", "pack"):
        code, said = run(name, "--help")
        assert code == 0 and "Example" in said and "opq-tools plugin " + name in said
