"""`opq-tools release`: from keys to a roll-out; with -m slow the real wheel's bundle, installed off line."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_in_process import run_in_process

from opq_cloud.update.repository import ReleaseRepository
from opq_gateway.update.journal import PROGRAM, UpdateFolder
from opq_gateway.update.trees import build, tree_tag
from opq_tools.firmware.release.build import read_facts, write_bundle

ROOT = Path(__file__).resolve().parents[2]


def release(*words: object) -> str:
    done = run_in_process("release", *map(str, words))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / f"{name}.pem" for name in ("root1", "root2", "release", "online")}
    for path in made.values():
        release("sign", "--new-key", path)
    return made


def begun(folder: Path, keys: dict[str, Path]) -> str:
    roots = [word for name in ("root1", "root2") for word in ("--root-key", f"{keys[name]}.pub")]
    rest = ("--root-threshold", 2, "--release-key", f"{keys['release']}.pub", "--online-key", keys["online"])
    return release("publish", folder, *roots, *rest)


def test_from_keys_to_a_roll_out(tmp_path: Path, keys: dict[str, Path]) -> None:
    folder = tmp_path / "R"
    assert "root.json has 0 of 2 signatures" in begun(folder, keys)
    release("sign", keys["root1"], folder / "staged/root.json")
    release("sign", keys["release"], folder / "staged/targets.json")
    assert "root.json has 1 of 2 signatures" in release("publish", folder, "--online-key", keys["online"])
    release("sign", keys["root2"], folder / "staged/root.json")
    assert "has 0 releases" in release("publish", folder, "--online-key", keys["online"])
    bundle = tmp_path / "any.zip"
    write_bundle(bundle, [], {"version": "0.2.0", "require": "opq-toolkit==0.2.0", "tag": "cp311-aarch64"})
    assert "targets.json has 0 of 1" in release("publish", folder, bundle, "--online-key", keys["online"])
    release("sign", keys["release"], folder / "staged/targets.json")
    found = json.loads(release("publish", folder, "--online-key", keys["online"], "--json"))
    assert found == {"lacking": [], "releases": ["gateway-0.2.0-cp311-aarch64.zip"]}
    rollout = ("rollout", folder, "--online-key", keys["online"])
    release(*rollout, "0.2.0", "--group", "pilot", "--stop-at", 2)
    plan = json.loads(release(*rollout, "--pause", "--percent", 10, "--json"))
    assert (plan["groups"], plan["percent"], plan["stop_at"], plan["paused"]) == (["pilot"], 10, 2, True)
    assert release("rollout", folder) == "gateway 0.2.0: paused; open to 0 % of 10 % of pilot\n"
    assert "under way; open to 10 % of 10 %" in release(*rollout, "--resume", "--all-at-once")


def test_what_cannot_be_published_is_one_sentence(tmp_path: Path, keys: dict[str, Path]) -> None:
    folder = tmp_path / "R"
    begun(folder, keys)
    for words, text in (
        (("publish", folder, __file__, "--online-key", keys["online"]), "is neither a bundle nor firmware"),
        (("publish", folder, "--root-key", keys["root1"], "--online-key", keys["online"]), "belong together"),
        (("rollout", folder, "0.2.0", "--online-key", keys["online"]), "is not among the published releases"),
        (("rollout", folder), "has no plan for gateway"),
        (("sign", keys["root1"], tmp_path / "staged.json"), "staged.json: No such file"),
    ):
        done = run_in_process("release", *map(str, words))
        assert done.returncode != 0 and text in done.stderr and len(done.stderr.splitlines()) == 1, (
            done.stderr
        )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_real_wheel_installs_without_internet(tmp_path: Path, keys: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "opq_tools.cli", "release", "build", str(ROOT), "--out", str(tmp_path)]
    subprocess.run(command, check=True)
    (bundle,) = tmp_path.glob("gateway-*.zip")
    facts = read_facts(bundle)
    assert facts["tag"] == tree_tag()
    folder = tmp_path / "R"
    begun(folder, keys)
    release("publish", folder, bundle, "--online-key", keys["online"])
    for name, path in (("root1", "root"), ("root2", "root"), ("release", "targets")):
        release("sign", keys[name], folder / f"staged/{path}.json")
    release("publish", folder, "--online-key", keys["online"])
    assert list(ReleaseRepository(folder).releases()) == [bundle.name]
    update = UpdateFolder(tmp_path / "gateway")
    update.path.mkdir(parents=True)
    bundle.rename(update.bundle)
    build(update, "a", facts["version"])
    program = update.tree("a") / PROGRAM
    told = subprocess.run([program, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "Serve Boxes on serial ports" in told.stdout
    size = sum(each.stat().st_size for each in update.tree("a").rglob("*") if each.is_file())
    print(f"tree {size / 1e6:.0f} MB")
    assert not zipfile.is_zipfile(update.bundle)
