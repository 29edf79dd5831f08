"""Source packages: which mirror is taken, what is reported when there is none, and one real fetch."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opq_hil.backends import debian_source
from opq_hil.backends.debian_source import Mirror, SourceError, fetch, mirror

DEB822 = """\
# a comment
Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

Types: deb deb-src
# another
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


def etc(folder: Path, *, ident: str = "debian", sources: str = "", one_line: str = "") -> Path:
    (folder / "apt/sources.list.d").mkdir(parents=True)
    (folder / "os-release").write_text(f'NAME="X"\nID={ident}\n')
    if sources:
        (folder / "apt/sources.list.d/debian.sources").write_text(sources)
    if one_line:
        (folder / "apt/sources.list").write_text(one_line)
    return folder


def test_a_deb822_files_release_is_taken(tmp_path: Path) -> None:
    """Its security suite is not."""
    found = mirror(etc(tmp_path, sources=DEB822))
    assert found == Mirror(
        "http://mirror.example/debian", "/usr/share/keyrings/debian-archive-keyring.gpg", "bookworm"
    )


def test_a_one_line_list_keeps_its_options(tmp_path: Path) -> None:
    text = "# deb http://no.example/debian sid main\n"
    text += "deb [arch=amd64 signed-by=/k.gpg] http://b.example/debian/ trixie main\n"
    assert mirror(etc(tmp_path, one_line=text)) == Mirror("http://b.example/debian/", "/k.gpg", "trixie")


def test_a_disabled_stanza_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no Debian mirror"):
        mirror(etc(tmp_path, sources=DEB822.replace("Types: deb deb-src", "Enabled: no\nTypes: deb")))


def test_another_distribution_than_debian_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no Debian"):
        mirror(etc(tmp_path, ident="ubuntu", sources=DEB822))


def kept_tree(cache: Path, checked_s: float) -> None:
    (cache / "sources/hello-1-abc").mkdir(parents=True)
    record = {"version": "1", "sha256": "abc", "folder": "hello-1-abc", "files": {}, "checked_s": checked_s}
    (cache / "sources/hello-trixie.json").write_text(json.dumps(record))


def test_a_tree_of_today_needs_no_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_tree(tmp_path, time.time())
    monkeypatch.setattr(debian_source, "run_step", lambda *_, **__: pytest.fail("read the mirror"))
    assert fetch("hello", "trixie", cache=tmp_path).version == "1"


def offline(*_: object, **__: object) -> tuple[int, list[str]]:
    return 100, ["Err:1 mirror", "E: Temporary failure resolving 'mirror'"]


def here_is_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_source, "mirror", lambda: Mirror("http://mirror.invalid/debian", "", "stable"))
    monkeypatch.setattr(debian_source.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(debian_source, "run_step", offline)


def test_offline_an_older_tree_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_tree(tmp_path, 0.0)
    here_is_debian(monkeypatch)
    tree = fetch("hello", "trixie", cache=tmp_path)
    assert tree.version == "1" and "Temporary failure" in tree.note


def test_a_slow_mirror_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one sentence; apt is ended too."""
    monkeypatch.setattr(debian_source, "mirror", lambda: Mirror("http://mirror.invalid/debian", "", "stable"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(debian_source, "LIMIT_S", 0.3)
    for name in ("apt-get", "dpkg-source"):
        (tmp_path / name).write_text("#!/bin/sh\nsleep 600\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(SourceError, match=r"list of trixie cannot be read: apt-get took longer than \d+ s"):
        fetch("hello", "trixie", cache=tmp_path / "cache")


def test_offline_without_a_tree_says_what_apt_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here_is_debian(monkeypatch)
    with pytest.raises(SourceError, match=r"the list of trixie cannot be read: E: Temporary failure"):
        fetch("hello", "trixie", cache=tmp_path)


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt here")
def test_a_mute_mirror_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not reported as a missing `deb-src`."""
    monkeypatch.setattr(debian_source, "mirror", lambda: Mirror("http://127.0.0.1:9/debian", "", "stable"))
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SourceError, match=r"list of trixie cannot be read: E: .*127\.0\.0\.1"):
        fetch("micropython", "trixie", cache=tmp_path)


def test_without_dpkg_source_its_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_source.shutil, "which", lambda name: None if name == "dpkg-source" else name)
    with pytest.raises(SourceError, match="apt install dpkg-dev"):
        fetch("hello", "trixie", cache=tmp_path)


FETCH_SL = """
import json, pathlib, sys
from opq_hil.backends.debian_source import SourceError, fetch
try:
    tree = fetch("sl", "trixie", cache=pathlib.Path(sys.argv[1]))
except SourceError as problem:
    print(json.dumps(["", str(problem)]))
else:
    print(json.dumps([tree.version, str(tree.path)]))
"""


def test_two_processes_at_once_get_one_real_tree(tmp_path: Path) -> None:
    """`sl` is a tiny package of five files, patched by Debian; needs a Debian with its mirror in reach."""
    if shutil.which("dpkg-source") is None or shutil.which("apt-get") is None:
        pytest.skip("no apt and dpkg-dev here")
    try:
        mirror()
    except SourceError as problem:
        pytest.skip(str(problem))
    command = (sys.executable, "-c", FETCH_SL, str(tmp_path))
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        got = [json.loads(process.communicate(timeout=600)[0]) for process in both]
    finally:
        for process in both:
            process.kill()
            process.wait()
    if not got[0][0]:
        pytest.skip(f"the mirror is out of reach: {got[0][1]}")
    assert got[0] == got[1]
    assert (Path(got[0][1]) / "sl.c").exists()
    assert not list((tmp_path / "sources").glob(".sl-*"))  # nothing half done is left
