"""`opq-tools plugin install NAME`: the plug-ins of the toolkit, and the libraries that come with one."""

import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from free_ports import free_port

from opq_plugins.package.archive import pack
from opq_plugins.package.manifest import parse_manifest
from opq_proto.errors import PluginError
from opq_tools.rules.plugin.install import command
from opq_tools.rules.plugin.pack import command as pack_command
from opq_tools.rules.plugin.shipped import lacking_requirements, shipped_plugins, with_libraries


def test_the_toolkit_ships_the_change_plugin() -> None:
    shipped = shipped_plugins()
    assert "change" in shipped
    for name, folder in shipped.items():
        manifest = parse_manifest((folder / "plugin.json").read_bytes())
        assert manifest.name == name and (folder / "README.md").is_file()
        assert pack(folder)[0] == f"{name}-{manifest.version}.zip"


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    done = CliRunner().invoke(command, ["chnage"])
    assert done.exit_code == 2 and "the toolkit has change" in done.output


def test_a_shipped_plugin_is_packed_by_name(tmp_path: Path) -> None:
    done = CliRunner().invoke(pack_command, ["change", "--out", str(tmp_path / "c.zip")])
    assert done.exit_code == 0 and "analyses/change.py" in zipfile.ZipFile(tmp_path / "c.zip").namelist()
    for words, wanted in (
        (["chnage"], "the toolkit has change"),
        (["change", "--wheels", "."], "--libraries"),
    ):
        refused = CliRunner().invoke(pack_command, words)
        assert refused.exit_code == 2 and wanted in refused.output


def test_only_lacking_libraries_are_packed() -> None:
    assert lacking_requirements(["click>=1", "surely-absent>=1", 'absent; python_version < "3"']) == [
        "surely-absent>=1"
    ]
    assert lacking_requirements(["click>=999"]) == ["click>=999"]
    with pytest.raises(PluginError, match="'!' is not a requirement"):
        lacking_requirements(["!"])


def test_a_lacking_address_needs_its_wheel(tmp_path: Path) -> None:
    """pip would build and run what is at the address of a library; an installed one is not requested."""
    at = "@ https://example.com/of-another.tar.gz"
    facts = {"name": "mine", "version": "1.0.0", "sinks": ["mine"]}
    asked = tmp_path / "plugin.json"
    asked.write_text(json.dumps({**facts, "requires": [f"surely-absent {at}"]}))
    with pytest.raises(PluginError, match=r"'surely-absent @ .*' names an address"):
        with_libraries(tmp_path, tmp_path / "into", None)
    (tmp_path / "wheels").mkdir()
    assert with_libraries(tmp_path, tmp_path / "into", None) == tmp_path
    (tmp_path / "wheels").rmdir()
    asked.write_text(json.dumps({**facts, "requires": [f"click {at}"]}))
    assert with_libraries(tmp_path, tmp_path / "into", None) == tmp_path


def made_wheel(folder: Path, name: str) -> None:
    """A wheel of one module, with tests."""
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    info = f"{name}-1.0.dist-info"
    files = {f"{name}/__init__.py": "x = 1\n", f"{name}/tests/test_x.py": "", f"{info}/METADATA": about}
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/WHEEL": kind, f"{info}/RECORD": ""}.items():
            wheel.writestr(path, text)


def test_no_library_is_fetched_without_an_engine(tmp_path: Path) -> None:
    facts = {"name": "mine", "version": "1.0.0", "sinks": ["mine"], "requires": ["surely-absent"]}
    (tmp_path / "plugin.json").write_text(json.dumps(facts))
    done = CliRunner().invoke(command, [str(tmp_path), "--url", f"http://127.0.0.1:{free_port()}"])
    assert done.exit_code == 1 and "no rule engine answers" in str(done.exception)


def test_wheels_of_a_folder_come_with_it(tmp_path: Path) -> None:
    """pip finds them in the given folder; their tests are left out."""
    plugin, wheels, into = tmp_path / "mine", tmp_path / "wheels", tmp_path / "into"
    for each in (plugin / "sinks", wheels, into):
        each.mkdir(parents=True)
    (plugin / "sinks" / "mine.py").write_text("import surelyabsent\n")
    facts = {"name": "mine", "version": "1.0.0", "sinks": ["mine"], "requires": ["surelyabsent>=1"]}
    (plugin / "plugin.json").write_text(json.dumps(facts))
    with pytest.raises(PluginError, match="pip does not find"):
        with_libraries(plugin, into, wheels)
    made_wheel(wheels, "surelyabsent")
    packed = CliRunner().invoke(
        pack_command, [str(plugin), "--out", str(tmp_path / "m.zip"), "--libraries", "--wheels", str(wheels)]
    )
    assert packed.exit_code == 0, packed.output
    assert "wheels/surelyabsent-1.0-py3-none-any.whl" in zipfile.ZipFile(tmp_path / "m.zip").namelist()
    whole = with_libraries(plugin, into / "again", wheels)
    (wheel,) = (whole / "wheels").iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert "surelyabsent/__init__.py" in names and not any("tests" in each for each in names)
    assert (whole / "sinks" / "mine.py").is_file()
    (plugin / "sinks" / "more.py").symlink_to(tmp_path / "private.txt")
    (tmp_path / "private.txt").write_text("of this machine's user\n")
    with pytest.raises(PluginError, match="links are not packed"):
        pack(with_libraries(plugin, into / "linked", wheels))
    (plugin / "plugin.json").write_text(json.dumps({**facts, "requires": ["click"]}))
    assert with_libraries(plugin, into, wheels) == plugin
