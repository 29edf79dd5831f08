"""Zips and manifests of plug-ins: what is refused, and that nothing of it is ever outside the folder."""

import hashlib
import json
import stat
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugin_zips import SINK, manifest, plugin_zip, zipped

from opq_plugins.package.archive import pack, read_package, write_files
from opq_plugins.package.manifest import parse_manifest, parse_version
from opq_plugins.package.properties import fill, parse_properties, read_properties
from opq_plugins.policy import Policy
from opq_proto.errors import PluginError
from opq_proto.keys.signing import new_key

SMALL = Policy(max_zip_bytes=1 << 20, max_unpacked_bytes=100_000, max_files=20)


def refused(tmp_path: Path, raw: bytes, name: str | None = "m", policy: Policy = SMALL) -> str:
    path = tmp_path / "x.zip"
    path.write_bytes(raw)
    with pytest.raises(PluginError) as told:
        read_package(path, name, policy)
    return str(told.value)


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "/etc/evil", "a/../../evil", "sinks\\..\\evil", "C:evil", "a//b", "./evil", "a/./b"),
        *("a\nb", "x" * 130, "/".join("d" * 20), "..", "a/.."),
    ],
)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    raw = zipped({"plugin.json": manifest("m"), "sinks/m.py": SINK, name: "evil"})
    told = refused(tmp_path, raw)
    assert "folder" in told or "not a readable zip" in told


def test_links_and_doubled_names_are_refused(tmp_path: Path) -> None:
    base = {"plugin.json": manifest("m"), "sinks/m.py": SINK}
    link = tmp_path / "link.zip"
    with zipfile.ZipFile(link, "w") as archive:
        for name, data in base.items():
            archive.writestr(name, data)
        entry = zipfile.ZipInfo("lib/passwd")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    assert "is a link" in refused(tmp_path, link.read_bytes())
    assert "twice" in refused(tmp_path, zipped({**base, "SINKS/M.PY": "x"}))
    assert "both a file and a folder" in refused(tmp_path, zipped({**base, "a": "1", "a/b": "2"}))
    assert "entries" in refused(tmp_path, zipped({**base, **{f"f{k}": "" for k in range(30)}}))
    assert "unpacked" in refused(tmp_path, zipped({**base, "big": b"0" * 200_000}))
    assert "not a readable zip" in refused(tmp_path, b"no zip at all")
    assert "not a readable zip" in refused(tmp_path, zipped(base)[:-30])


def test_a_million_names_are_refused_early(tmp_path: Path) -> None:
    names = (b"PK\x01\x02" + bytes(42) + b"a") * 50
    told = refused(tmp_path, names + b"PK\x05\x06" + bytes(16), policy=SMALL)
    assert "more than 20 entries" in told


def test_broken_lzma_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "good.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("plugin.json", b"{}" * 100)
    raw = path.read_bytes()
    at = raw.index(b"plugin.json") + len("plugin.json") + 9
    assert "not a readable zip" in refused(tmp_path, raw[:at] + b"\xff" * 8 + raw[at + 8 :])


def test_a_wrong_manifest_names_the_right_form(tmp_path: Path) -> None:
    assert "no plugin.json at" in refused(tmp_path, zipped({"sinks/m.py": SINK}))
    assert "zip the content" in refused(tmp_path, zipped({"m/plugin.json": manifest("m")}))
    assert "built by Go" in refused(tmp_path, zipped({"Mysql.so": "ELF"}))
    assert "of plug-in 'm', not 'other'" in refused(tmp_path, plugin_zip("m"), "other")
    told = refused(
        tmp_path, zipped({"plugin.json": '{"name": "a b", "version": "1", "language": "go", "x": 1}'})
    )
    for each in ("'x' is unknown", "name  is 'a b'", "version  is '1'", "language  is 'go'"):
        assert each in told
    assert "api  is 2" in refused(tmp_path, plugin_zip("m", api=2))
    assert "want at least one source" in refused(
        tmp_path, zipped({"plugin.json": '{"name":"m","version":"1.0.0"}'})
    )


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    """A checksum can be required."""
    right = hashlib.sha256(SINK.encode()).hexdigest()
    assert "differs from the manifest" in refused(tmp_path, plugin_zip("m", sha256={"sinks/m.py": "0" * 64}))
    assert "not in the zip" in refused(tmp_path, plugin_zip("m", sha256={"sinks/m.py": right, "a": right}))
    assert "lacks the sha256" in refused(tmp_path, plugin_zip("m"), policy=Policy(require_sha256=True))
    (tmp_path / "good.zip").write_bytes(plugin_zip("m", sha256={"sinks/m.py": right}))
    assert read_package(tmp_path / "good.zip", "m", Policy(require_sha256=True)).manifest.name == "m"


def test_packing_is_reproducible_without_tests(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    for name, text in {
        "plugin.json": manifest("m"),
        "sinks/m.py": SINK,
        "tests/t.py": "",
        ".git/x": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    name, first = pack(folder)
    (folder / "sinks/m.py").touch()
    assert (name, pack(folder)[1]) == ("m-1.0.0.zip", first)
    (tmp_path / "x.zip").write_bytes(first)
    package = read_package(tmp_path / "x.zip", "m", Policy(require_sha256=True))
    assert sorted(package.files) == ["plugin.json", "sinks/m.py"]


def test_a_private_key_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "sinks").mkdir()
    (tmp_path / "plugin.json").write_text(manifest("m"))
    (tmp_path / "sinks" / "m.py").write_text(SINK)
    new_key(tmp_path / "release.pem")
    with pytest.raises(PluginError, match=r"release\.pem contains a private key"):
        pack(tmp_path)
    (tmp_path / "release.pem").unlink()
    pack(tmp_path)  # the public one may go along


def test_properties_are_filled_and_checked() -> None:
    properties = parse_properties(
        b'{"properties": {"url": {"type": "string", "required": true}, "n": {"default": 3}, "m": 4}}',
        "x.json",
    )
    assert fill(properties, {"url": "u"}) == {"url": "u", "n": 3, "m": 4}
    with pytest.raises(ValueError, match="url  missing"):
        fill(properties, {})
    with pytest.raises(ValueError, match="url  is int; want string"):
        fill(properties, {"url": 1})


@pytest.mark.parametrize("raw", ['{"properties": [{"name": "a"}]}', '{"default": {"step": 2}}', "[]"])
def test_ekuiper_properties_are_refused_with_ours(raw: str) -> None:
    with pytest.raises(PluginError, match=r'x\.json: want \{"properties": \{NAME: '):
        parse_properties(raw.encode(), "x.json")


def test_yaml_properties_are_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "x.yaml").write_text("default:\n  interval: 1000\n")
    with pytest.raises(PluginError, match=r"x\.yaml is eKuiper's form; write sources/x\.json"):
        read_properties(tmp_path, "sources", "x")


def test_versions_are_ordered_as_semver_says() -> None:
    texts = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0",
        "1.0.1",
        "1.2.0",
        "10.0.0",
    ]
    versions = [parse_version(text) for text in texts]
    assert sorted(versions) == versions and len(set(versions)) == 8
    for wrong in ("1.0", "1.0.0.0", "latest", "", "1.0.-1"):
        with pytest.raises(PluginError):
            parse_version(wrong)


names = st.one_of(
    st.sampled_from(["../x", "/x", "plugin.json", "sinks/m.py", "a/../../x", "..\\x", "m.json", "lib/", "."]),
    st.text(min_size=1, max_size=20),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(names, st.binary(max_size=50), max_size=6), st.booleans())
def test_no_zip_writes_outside_its_folder(files: dict[str, bytes], with_manifest: bool) -> None:
    with tempfile.TemporaryDirectory() as here:
        root = Path(here)
        path = root / "x.zip"
        if with_manifest:
            files = {**files, "plugin.json": manifest("m").encode()}
        path.write_bytes(zipped({name.replace("\x00", "_"): data for name, data in files.items()}))
        folder = root / "deep" / "er" / "plugin"
        try:
            package = read_package(path, "m", SMALL)
        except PluginError:
            return
        write_files(package.files, folder)
        assert {each.name for each in root.iterdir()} == {"x.zip", "deep"}
        assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == set(
            package.files
        )


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_broken_zip_is_refused_and_never_more(data: st.DataObject) -> None:
    raw = bytearray(plugin_zip("m"))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as here:
        path = Path(here) / "x.zip"
        path.write_bytes(
            bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw)
        )
        try:
            assert read_package(path, "m", SMALL).manifest.name == "m"
        except PluginError as error:
            assert str(error)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "name",
    "version",
    "kind",
    "api",
    "language",
    "executable",
    "symbols",
    "requires",
    "limits",
    "sha256",
    "mode",
    "help",
]


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_any_manifest_is_read_or_refused(told: dict[str, object]) -> None:
    whole = {"name": "m", "version": "1.0.0", "kind": "sink", **told}
    for each in (told, whole):
        try:
            parsed = parse_manifest(json.dumps(each).encode())
        except PluginError as error:
            assert "plugin.json" in str(error)
        else:
            shown = parsed.as_json()
            assert parsed.symbols and shown["name"] == parsed.name
            assert shown.get("help", "") == parsed.help


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_any_file_of_properties_is_read_or_refused(raw: bytes) -> None:
    try:
        fill(parse_properties(raw, "x.json"), {})
    except (PluginError, ValueError):
        return


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"limits": {"memory_bytes": 0.5}}, "whole number"),  # 0 is not a limit at all
        ({"limits": {"processes": 0.1}}, "whole number"),
        ({"limits": {"cpu_s": float("inf")}}, "limits.cpu_s"),
        ({"limits": {"call_s": float("nan")}}, "limits.call_s"),
        ({"limits": {"cpu_s": 10**30}}, "limits.cpu_s"),
        ({"symbols": {"sinks": [f"s{number}" for number in range(60_000)]}}, "60000 symbols"),
        ({"requires": ["a" + " " * 500_000 + "!"]}, "characters"),
        ({str(number): 1 for number in range(50_000)}, "and 49980 more"),
    ],
)
def test_a_manifest_lifts_no_limit(more: dict[str, Any], told: str) -> None:
    with pytest.raises(PluginError, match=told) as refused:
        parse_manifest(manifest("m", **more).encode())
    assert len(str(refused.value)) < 10_000


def test_names_differing_in_form_are_doubled(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(zipped({"plugin.json": manifest("m"), "sinks/\u00e9.py": "", "sinks/e\u0301.py": ""}))
    with pytest.raises(PluginError, match="twice"):
        read_package(path, "m", SMALL)
