"""A signature of a plug-in counts for what it covers: the manifest, and by its sums every file."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from plugin_zips import SINK, manifest, stored, zipped

from opq_plugins.package.archive import pack
from opq_plugins.policy import Policy
from opq_proto.keys.signing import firmware_key, new_key
from opq_rules.errors import RuleError
from opq_rules.rule_plugins import RulePlugins


def refusal(run: Any, *arguments: Any) -> str:
    with pytest.raises(RuleError) as refused:
        run(*arguments)
    return str(refused.value)


def test_a_signature_can_be_required(tmp_path: Path) -> None:
    public = new_key(tmp_path / "key.pem")
    new_key(tmp_path / "other.pem")
    folder = tmp_path / "m"
    (folder / "sinks").mkdir(parents=True)
    (folder / "plugin.json").write_text(manifest("m", mode="inproc"))
    (folder / "sinks/m.py").write_text(SINK)
    policy = Policy(require_signature=True, keys=(public,))
    plugins = RulePlugins(tmp_path / "data", policy)
    for sign, told in (
        (None, "no signature"),
        (firmware_key(tmp_path / "other.pem").sign, "not signed by an allowed key"),
        (lambda manifest: b"x" * 64, "not signed by an allowed key"),
    ):
        url = stored(plugins.uploads, pack(folder, sign)[1])
        assert told in refusal(plugins.create, "sink", "m", url)
    url = stored(plugins.uploads, pack(folder, firmware_key(tmp_path / "key.pem").sign)[1])
    plugins.create("sink", "m", url)
    plugins.sink("m")().configure({})
    assert plugins.status("m")["mode"] == "inproc" and len(plugins.status("m")["signed_by"]) == 16
    plugins.close()


def signed_without_sums(folder: Path, key: Path, files: Mapping[str, str]) -> str:
    """A package whose signature is right and covers only the manifest."""
    raw = manifest("m", mode="inproc")
    return stored(
        folder, zipped({"plugin.json": raw, "plugin.json.sig": firmware_key(key).sign(raw.encode()), **files})
    )


def test_a_signature_without_sums_signs_nothing(tmp_path: Path) -> None:
    """One signed manifest fits any code, so the code stays in a process, and is refused where required."""
    public = new_key(tmp_path / "key.pem")
    for number, code in enumerate((SINK, SINK.replace("taken = 0", "taken = 1"))):
        plugins = RulePlugins(tmp_path / f"data{number}", Policy(keys=(public,)))
        url = signed_without_sums(plugins.uploads, tmp_path / "key.pem", {"sinks/m.py": code})
        plugins.create("sink", "m", url)
        status = plugins.status("m")
        assert (status["mode"], status["signed_by"]) == ("process", None)
        plugins.close()
    plugins = RulePlugins(tmp_path / "strict", Policy(require_signature=True, keys=(public,)))
    url = signed_without_sums(plugins.uploads, tmp_path / "key.pem", {"sinks/m.py": SINK})
    assert "lacks the sha256" in refusal(plugins.create, "sink", "m", url)
    assert not plugins.list("sink")
    plugins.close()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"sinks/m.py": SINK + "\n"}, "sinks/m.py differs"),
        ({"m.py": SINK}, "m.py is not in the manifest"),
        ({"lib/deep/er/opq_proto/__init__.py": ""}, "is not in the manifest"),
        ({"wheels/x-1-py3-none-any.whl": "x"}, "is not in the manifest"),
        ({"sinks/__pycache__/m.cpython-311.pyc": "x"}, "is not in the manifest"),
        ({"SINKS/M.PY": SINK}, "twice"),
        ({"sinks/\uff4d.py": SINK}, "twice"),
        ({"plugin.json/": ""}, "twice"),
        ({"plugin.JSON.sig": "x"}, "twice"),
    ],
)
def test_a_signed_package_has_no_uncovered_file(tmp_path: Path, changed: dict[str, str], told: str) -> None:
    public = new_key(tmp_path / "key.pem")
    sums = {"sinks/m.py": hashlib.sha256(SINK.encode()).hexdigest()}
    raw = manifest("m", mode="inproc", sha256=sums)
    signature = firmware_key(tmp_path / "key.pem").sign(raw.encode())
    plugins = RulePlugins(tmp_path / "data", Policy(require_signature=True, keys=(public,)))
    good = {"plugin.json": raw, "plugin.json.sig": signature, "sinks/m.py": SINK}
    assert told in refusal(plugins.create, "sink", "m", stored(plugins.uploads, zipped(good | changed)))
    plugins.create("sink", "m", stored(plugins.uploads, zipped(good)))
    plugins.sink("m")().configure({})
    assert plugins.status("m")["mode"] == "inproc"
    plugins.close()


def test_each_start_reads_the_signature_again(tmp_path: Path) -> None:
    """A key that left the configuration gives no trust."""
    public = new_key(tmp_path / "key.pem")
    plugins = RulePlugins(tmp_path / "data", Policy(keys=(public,)))
    raw = manifest("m", mode="inproc", sha256={"sinks/m.py": hashlib.sha256(SINK.encode()).hexdigest()})
    signature = firmware_key(tmp_path / "key.pem").sign(raw.encode())
    files = {"plugin.json": raw, "plugin.json.sig": signature, "sinks/m.py": SINK}
    plugins.create("sink", "m", stored(plugins.uploads, zipped(files)))
    plugins.sink("m")().configure({})
    assert plugins.status("m")["mode"] == "inproc"
    plugins.close()
    plugins = RulePlugins(tmp_path / "data", Policy())
    plugins.sink("m")().configure({})
    assert (plugins.status("m")["mode"], plugins.status("m")["signed_by"]) == ("process", None)
    plugins.close()
    plugins = RulePlugins(tmp_path / "data", Policy(require_signature=True))
    assert "not signed by an allowed key" in refusal(plugins.sink("m"))
    assert plugins.status("m")["status"] == "error"
    plugins.close()
