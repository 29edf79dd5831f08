"""Installs a version from a URL: fetched and checked in a staging folder, then renamed in one step."""

import importlib.metadata
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from opq_plugins.package.archive import PluginPackage, allowed_signer, read_package, write_files, zip_contents
from opq_plugins.package.fetch import fetch
from opq_plugins.package.manifest import PackageManifest, parse_version
from opq_plugins.package.releases import Release, ReleaseFolder
from opq_plugins.policy import Policy
from opq_proto.errors import PluginError
from opq_proto.kit.whole_file import private_folder

MAX_AT_ONCE = 4
"""Zips that are fetched and read at a time: each may take a minute, and 256 MiB."""


class Installer(ReleaseFolder):
    """Adds and removes versions; `.staging/` holds unfinished ones."""

    def __init__(self, folder: Path, uploads: Path, policy: Policy) -> None:
        super().__init__(folder)
        self._staging = folder / ".staging"
        self._aside = self._staging / "aside"
        self._uploads = uploads
        self._policy = policy
        self._fetching = threading.BoundedSemaphore(MAX_AT_ONCE)
        self._clear()

    def _clear(self) -> None:
        """Removes what a crash left."""
        private_folder(self._folder.parent)  # the folder has rules with secrets
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._folder.chmod(0o755)

    def fetch(self, url: str, name: str | None) -> tuple[PluginPackage, str | None]:
        """Returns the checked package and who signed it. Raises PluginError; then nothing is left on disk."""
        if not self._fetching.acquire(blocking=False):
            raise PluginError(
                f"{MAX_AT_ONCE} plug-ins are being fetched; try again when one of them has ended"
            )
        try:
            return self._fetch(url, name)
        finally:
            self._fetching.release()

    def _fetch(self, url: str, name: str | None) -> tuple[PluginPackage, str | None]:
        with tempfile.TemporaryDirectory(dir=self._staging) as here:
            target = Path(here) / "plugin.zip"
            try:
                fetch(url, target, self._policy, [self._uploads, *self._policy.file_roots])
                package = read_package(target, name, self._policy)
            except OSError as error:
                raise PluginError(f"{url}: {error.strerror or error}") from None
        return package, allowed_signer(package.raw_manifest, package.signature, self._policy)

    def unpack(self, package: PluginPackage, signed_by: str | None) -> Release:
        """Unpacks into the version's folder, and puts the old content aside. PluginError: nothing is left."""
        manifest = package.manifest
        version = str(manifest.version)
        staged = Path(tempfile.mkdtemp(dir=self._staging)) / "unpacked"
        try:
            write_files(package.files, staged)
            libraries = _wheels(package.files, self._policy)
            if libraries:
                if any(name.partition("/")[0] == "lib" for name in package.files):
                    raise PluginError(
                        f"{manifest.name} has wheels and files in lib/; wheels are unpacked there, so "
                        f"remove the files"
                    )
                write_files(libraries, staged / "lib")
            _check_requirements(manifest, libraries)
            target = self.folder(manifest.name, version)
            target.parent.mkdir(mode=0o755, exist_ok=True)
            target.parent.chmod(0o755)
            self._exchange(staged, target)
        except OSError as error:
            raise PluginError(f"{manifest.name} {version} cannot be stored: {error}") from None
        finally:
            shutil.rmtree(staged.parent, ignore_errors=True)
        now_ms = time.time_ns() // 1_000_000
        return Release(manifest.name, version, package.sha256, signed_by, now_ms)

    def commit(self) -> None:
        """Keeps the files unpacked last, and deletes the files that they replaced."""
        shutil.rmtree(self._aside, ignore_errors=True)

    def take_back(self, release: Release) -> None:
        """Removes the files unpacked last, and restores the files that they replaced."""
        self.remove(release.name, release.version)
        if self._aside.exists():
            self._aside.rename(self.folder(release.name, release.version))
        with suppress(OSError):  # other versions are there
            (self._folder / release.name).rmdir()

    def _exchange(self, staged: Path, target: Path) -> None:
        """Renames `staged` to `target`; puts old content aside: a version, or the rest of a crash."""
        shutil.rmtree(self._aside, ignore_errors=True)
        if target.exists():
            target.rename(self._aside)
        try:
            staged.rename(target)
        except OSError:
            if self._aside.exists():
                self._aside.rename(target)
            raise

    def remove(self, name: str, version: str | None = None) -> None:
        """Removes one version, or all. The folder is renamed first, so that an incomplete version is never
        found."""
        path = self._folder / name if version is None else self.folder(name, version)
        if path.exists():
            grave = Path(tempfile.mkdtemp(dir=self._staging)) / "removed"
            path.rename(grave)
            shutil.rmtree(grave.parent, ignore_errors=True)

    def prune(self, name: str, versions: Sequence[str], keep: set[str]) -> list[str]:
        """Removes old versions beyond the policy's number; returns them. `versions`: oldest first."""
        spare = [version for version in versions if version not in keep]
        excess = max(0, len(versions) - self._policy.keep_versions)
        for version in spare[:excess]:
            self.remove(name, version)
        return spare[:excess]


def _wheels(files: Mapping[str, bytes], policy: Policy) -> dict[str, bytes]:
    """The files that the wheels in `wheels/` install as libraries. A wheel is a zip: nothing of it is run."""
    found: dict[str, bytes] = {}
    for name, data in files.items():
        if not name.startswith("wheels/") or not name.endswith(".whl"):
            continue
        left = policy.max_unpacked_bytes - sum(map(len, found.values()))
        inside = zip_contents(data, replace(policy, max_unpacked_bytes=left), f"{name} is not a wheel")
        for path, content in inside.items():
            head, _, rest = path.partition("/")
            if head.endswith(".data"):  # its scripts and data are left out
                part, _, rest = rest.partition("/")
                if part not in ("purelib", "platlib"):
                    continue
                found[rest] = content
            else:
                found[path] = content
        if len(found) > policy.max_files:
            raise PluginError(f"its wheels have more than {policy.max_files} files")
    return found


def _check_requirements(manifest: PackageManifest, libraries: Mapping[str, bytes]) -> None:
    bundled: dict[str, str] = {}
    for path in libraries:
        if match := re.fullmatch(r"([^/]+)-([^/-]+)\.dist-info/METADATA", path):
            bundled[canonicalize_name(match[1])] = match[2]
    problems = []
    for text in manifest.requires:
        try:
            wanted = Requirement(text)
            if wanted.url:
                raise InvalidRequirement(text)
        except InvalidRequirement:
            problems.append(f"{text!r}: want a name, or name>=1.0, name==1.0")
            continue
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue  # for another Python or another system
        have = bundled.get(canonicalize_name(wanted.name))
        if have is None:
            try:
                have = importlib.metadata.version(wanted.name)
            except importlib.metadata.PackageNotFoundError:
                problems.append(f"{text} is not installed")
                continue
        if not _is_within(have, wanted):
            problems.append(f"{text}: {have} is installed")
    if problems:
        raise PluginError(
            f"{manifest.name} has unmet requirements: {'; '.join(problems)}; `opq-tools plugin pack FOLDER"
            " --libraries` packs libraries with it"
        )


def _is_within(have: str, wanted: Requirement) -> bool:
    try:
        return wanted.specifier.contains(have, prereleases=True)
    except InvalidVersion:  # the installed package's version is not a valid one
        return not wanted.specifier


def check_version(manifest: PackageManifest, current: str | None, downgrade: bool) -> None:
    """Raises PluginError unless the version is above the current one, or below it and `downgrade` is set."""
    if current is None:
        return
    old = parse_version(current)
    if manifest.version == old:
        raise PluginError(
            f"{manifest.name} {current} is installed already; a new version has a higher number"
        )
    if manifest.version < old and not downgrade:
        raise PluginError(
            f"plug-in {manifest.name} {manifest.version} is below the installed {current}; "
            "allow a lower version to install it (downgrade=true)"
        )
