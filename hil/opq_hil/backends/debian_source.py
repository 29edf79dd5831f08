"""Source packages from the Debian mirror that this machine already uses, unpacked once and kept.

`fetch("micropython", "trixie")` calls apt with its own configuration: the machine's Debian address, its
keyring and its proxy, but another suite and folders in our cache. So apt checks the signatures, the machine's
own package lists stay unchanged, no root is needed, and our code contains no host name.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from opq_hil.backends.build_lock import locked
from opq_hil.backends.build_step import BuildError, run_step
from opq_proto.errors import OpqError

LIMIT_S = 900.0
"""For one call of apt or dpkg-source; it grows on a slower machine."""
RECHECK_S = 24 * 3600.0
"""A younger tree is used without a request to the mirror for a newer point release."""


class SourceError(OpqError):
    """A source package is not available here; the text says why and what to do instead."""


@dataclass(frozen=True, slots=True)
class SourceTree:
    """An unpacked source package. `sha256` is that of its .dsc, which names every file with its own."""

    package: str
    path: Path
    version: str
    sha256: str
    files: Mapping[str, str] = field(default_factory=dict)  # name -> sha256, from the .dsc
    note: str = ""  # e.g. that the mirror did not answer and an older tree is used


@dataclass(frozen=True, slots=True)
class Mirror:
    """The source of the machine's Debian packages."""

    uri: str
    signed_by: str  # a path; empty: apt's own keyrings; an inline key keeps its line breaks
    suite: str  # the machine's own release


def cache_folder() -> Path:
    """`${XDG_CACHE_HOME:-~/.cache}/opq`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "opq"


def fetch(package: str, suite: str, *, cache: Path | None = None, refresh: bool = False) -> SourceTree:
    """The source of `package` as `suite` has it now, unpacked with Debian's patches.

    With two processes at once, the second waits for the first and uses its tree.

    Raises:
        SourceError: not on Debian, no deb mirror configured, dpkg-dev missing, or the mirror cannot be
            reached and no older tree is stored.
    """
    folder = (cache or cache_folder()) / "sources"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise SourceError(f"{folder} cannot be made: {problem.strerror}; set XDG_CACHE_HOME") from None
    with locked(folder / f"{package}-{suite}.lock"):
        record = _read_record(folder, package, suite)
        if record is not None and not refresh and time.time() - record[1] < RECHECK_S:
            return record[0]
        try:
            return _fetch_now(folder, package, suite)
        except SourceError as problem:
            if record is None:
                raise
            old = record[0]
            note = f"the mirror was not read again: {problem}"
            return SourceTree(package, old.path, old.version, old.sha256, old.files, note)


def mirror(etc: Path = Path("/etc")) -> Mirror:
    """The first Debian address with `main` of a release (no -security, no -updates) in apt's
    configuration.
    """
    release = (etc / "os-release").read_text() if (etc / "os-release").exists() else ""
    if not re.search(r'^ID="?debian"?$', release, re.MULTILINE):
        raise SourceError(
            "this machine does not run Debian: its package mirror has no Debian source packages"
        )
    apt = etc / "apt"
    lists = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        for stanza in _stanzas(path.read_text()):
            found = _usable(stanza)
            if found is not None:
                return found
    for path in lists:
        for line in path.read_text().splitlines() if path.exists() else ():
            match = re.match(
                r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<parts>.+)", line
            )
            if match:
                options = dict(pair.partition("=")[::2] for pair in (match["options"] or "").split())
                stanza = {
                    "types": "deb",
                    "uris": match["uri"],
                    "suites": match["suite"],
                    "components": match["parts"],
                }
                found = _usable(stanza | {"signed-by": options.get("signed-by", "")})
                if found is not None:
                    return found
    raise SourceError(f"apt has no Debian mirror configured in {apt}: want one with `main` of a release")


def _usable(stanza: Mapping[str, str]) -> Mirror | None:
    suites = [suite for suite in stanza.get("suites", "").split() if "-" not in suite and "/" not in suite]
    uris = [uri for uri in stanza.get("uris", "").split() if uri.rstrip("/").endswith("debian")]
    wanted = "deb" in stanza.get("types", "").split() and "main" in stanza.get("components", "").split()
    if not (wanted and suites and uris) or stanza.get("enabled", "yes").strip().lower() in (
        "no",
        "false",
        "0",
    ):
        return None
    return Mirror(uris[0], stanza.get("signed-by", "").strip(), suites[0])


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of a deb822 file: keys in lower case, a continued value with its line breaks."""
    for paragraph in re.split(r"\n\s*\n", text):
        stanza: dict[str, str] = {}
        key = ""
        for line in paragraph.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                stanza[key] = stanza.get(key, "") + "\n" + line
            elif ":" in line:
                key = line.partition(":")[0].strip().lower()
                stanza[key] = line.partition(":")[2].strip()
        if stanza:
            yield stanza


def _read_record(folder: Path, package: str, suite: str) -> tuple[SourceTree, float] | None:
    try:
        record = json.loads((folder / f"{package}-{suite}.json").read_text())
        tree = SourceTree(
            package, folder / record["folder"], record["version"], record["sha256"], record["files"]
        )
        checked_s = float(record["checked_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never fetched, or not completely
    return (tree, checked_s) if tree.path.is_dir() else None


def _fetch_now(folder: Path, package: str, suite: str) -> SourceTree:
    for program, brings in (("apt-get", "apt"), ("dpkg-source", "dpkg-dev")):
        if shutil.which(program) is None:
            raise SourceError(
                f"{program} is not installed, {package} cannot be fetched: sudo apt install {brings}"
            )
    source = mirror()
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{package}-") as temporary:
        work = Path(temporary)
        environment = _apt_environment(work, source, suite)
        update = (
            "apt-get",
            "update",
            "-qq",
            "-o",
            "APT::Update::Error-Mode=any",
        )  # otherwise a missing mirror would be no error
        _run(update, work, environment, f"{package}: the list of {suite} cannot be read")
        command = ("apt-get", "source", "-qq", "--download-only", "--only-source", package)
        _run(command, work, environment, f"{package}: {suite} has no such source, or it cannot be downloaded")
        descriptions = list(work.glob("*.dsc"))
        if len(descriptions) != 1:
            raise SourceError(f"{package}: want one .dsc from {suite}, got {len(descriptions)}")
        text = descriptions[0].read_text(errors="replace")
        version = _dsc_version(text)
        sha256 = hashlib.sha256(descriptions[0].read_bytes()).hexdigest()
        tree = SourceTree(
            package, folder / f"{package}-{version}-{sha256[:16]}", version, sha256, _dsc_files(text)
        )
        if not tree.path.is_dir():
            unpacked = work / "unpacked"
            extract = (
                "dpkg-source",
                "--no-check",
                "-x",
                descriptions[0].name,
                str(unpacked),
            )  # apt checked it
            _run(extract, work, environment, f"{package}: cannot be unpacked")
            unpacked.rename(tree.path)
    record = {
        "version": version,
        "sha256": sha256,
        "folder": tree.path.name,
        "files": dict(tree.files),
        "checked_s": time.time(),
    }
    half = folder / f"{package}-{suite}.json.new"
    half.write_text(json.dumps(record, indent=1))
    half.rename(folder / f"{package}-{suite}.json")
    return tree


def _apt_environment(work: Path, source: Mirror, suite: str) -> dict[str, str]:
    for name in ("lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True)
    signed = f"Signed-By: {source.signed_by}\n" if source.signed_by else ""
    stanza = f"Types: deb deb-src\nURIs: {source.uri}\nSuites: {suite}\nComponents: main\n{signed}"
    (work / "opq.sources").write_text(stanza)
    (work / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{work}/opq.sources";\n'
        'Dir::Etc::sourceparts "-";\n'
        f'Dir::State::lists "{work}/lists";\n'
        f'Dir::Cache "{work}/cache";\n'
        "#clear APT::Update::Post-Invoke;\n"  # hooks of the machine's own configuration clean its own folders
        "#clear APT::Update::Post-Invoke-Success;\n"
        'Acquire::Languages "none";\nAcquire::Retries "2";\nAcquire::http::Timeout "30";\n'
        + ('APT::Sandbox::User "root";\n' if os.geteuid() == 0 else "")  # _apt may not enter our folder
    )
    return {
        **os.environ,
        "APT_CONFIG": str(work / "apt.conf"),
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
    }


def _run(command: tuple[str, ...], work: Path, environment: Mapping[str, str], failed: str) -> None:
    try:
        code, lines = run_step(command, work, command[0], limit_s=LIMIT_S, environment=environment)
    except BuildError as problem:
        raise SourceError(f"{failed}: {problem}") from None
    if code:
        said = [line for line in lines if line.strip()]
        said = [line for line in said if line.startswith("E: ")] or said
        raise SourceError(f"{failed}: {said[0] if said else f'{command[0]} ended with {code}'}")


def _dsc_version(text: str) -> str:
    match = re.search(r"^Version: (\S+)$", text, re.MULTILINE)
    if match is None:
        raise SourceError("a .dsc without a version")
    return match[1].replace(":", "%3a")  # removes an epoch, because the version names a folder


def _dsc_files(text: str) -> dict[str, str]:
    match = re.search(r"^Checksums-Sha256:\s*\n((?: .+\n)+)", text, re.MULTILINE)
    rows = [line.split() for line in match[1].splitlines()] if match else []
    return {name: digest for digest, _, name in rows}
