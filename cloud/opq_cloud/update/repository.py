"""A TUF repository in a folder, which any web server can serve.

    metadata/   N.root.json, N.targets.json (signed off line), N.rollout.json, N.snapshot.json, timestamp.json
    targets/    <sha256>.<name of a release>
    staged/     root.json, targets.json: what waits for signatures

Root and release keys stay off line: `opq-tools release sign` signs a staged file wherever the key is. The key
on line signs time stamps, snapshots and plans, and cannot bring code to a gateway. python-tuf makes and
checks everything. Source: theupdateframework.github.io/specification, 1.0.33."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from opq_proto.kit.whole_file import write_whole_file
from opq_proto.release.plan import Plan, ReleaseError, plan_from

OFF_LINE_DAYS = 400
"""Validity of what off-line keys sign: root and targets."""
PLAN_DAYS = 90
"""Validity of a plan."""
SNAPSHOT_DAYS = 30
"""Validity of a snapshot."""
TIMESTAMP_DAYS = 7
"""Validity of a time stamp."""
ROLLOUT = "rollout"
Document = Metadata[Any]


class ReleaseRepository:
    """One repository; one writer at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata, self.targets, self.staged = (
            folder / name for name in ("metadata", "targets", "staged")
        )

    @property
    def exists(self) -> bool:
        return (self.metadata / "timestamp.json").is_file()

    def newest(self, role: str) -> Document | None:
        """The newest published metadata of a role (root, targets, ...); None before its first publication."""
        if role == Timestamp.type:
            path = self.metadata / "timestamp.json"
            return _read(path) if path.is_file() else None
        found = [int(each.name.partition(".")[0]) for each in self.metadata.glob(f"*.{role}.json")]
        return _read(self.metadata / f"{max(found)}.{role}.json") if found else None

    def stage_root(
        self,
        root_keys: Sequence[PublicKeyTypes],
        release_keys: Sequence[PublicKeyTypes],
        online_key: PublicKeyTypes,
        root_threshold: int,
        release_threshold: int,
    ) -> None:
        """Stages a root with these keys, the next version; and targets whose plans the online key signs."""
        before = self.newest(Root.type)
        version = 1 if before is None else before.signed.version + 1
        root = Root(version=version, expires=_in_days(OFF_LINE_DAYS))
        online = SSlibKey.from_crypto(online_key)
        for role, keys, threshold in (
            (Root.type, root_keys, root_threshold),
            (Targets.type, release_keys, release_threshold),
            (Snapshot.type, [online_key], 1),
            (Timestamp.type, [online_key], 1),
        ):
            made = [SSlibKey.from_crypto(each) for each in keys]
            if not 1 <= threshold <= len({each.keyid for each in made}):
                raise ReleaseError(f"{role} has {len(made)} keys, so its threshold cannot be {threshold}")
            for key in made:
                root.add_key(key, role)
            root.roles[role].threshold = threshold
        self._stage("root.json", Metadata(root))
        targets = self._next_targets()
        rollout = DelegatedRole(ROLLOUT, [online.keyid], 1, terminating=True, paths=[f"{ROLLOUT}-*"])
        targets.delegations = Delegations({online.keyid: online}, {ROLLOUT: rollout})
        self._stage("targets.json", Metadata(targets))

    def stage_releases(self, releases: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> None:
        """Copies files under their names into the repository, and stages the targets with them.

        Args:
            releases: name of the target -> (file, custom fields). A name that exists is never changed.
        """
        targets = self._next_targets()
        for name, (file, custom) in releases.items():
            data = file.read_bytes()
            target = TargetFile.from_data(name, data, ["sha256"])
            known = targets.targets.get(name)
            if known is not None and known.hashes != target.hashes:
                raise ReleaseError(f"{name} is in the repository with other bytes; give it a new version")
            target.unrecognized_fields["custom"] = dict(custom)
            targets.targets[name] = target
            self.targets.mkdir(parents=True, exist_ok=True)
            write_whole_file(self.targets / f"{target.hashes['sha256']}.{name}", [data], 0o644)
        self._stage("targets.json", Metadata(targets))

    def publish(self, online: PrivateKeyTypes) -> list[str]:
        """Publishes the staged files that have their signatures, and renews the files that the online key
        signs.

        Returns what still lacks signatures, in words. Raises ReleaseError.
        """
        lacking = [words for role in (Root.type, Targets.type) if (words := self._publish(role))]
        if self.newest(Root.type) is not None and self.newest(Targets.type) is not None:
            self._renew(online)
        return lacking

    def renew(self, online: PrivateKeyTypes) -> bool:
        """Signs files again after half of their validity; returns whether any was signed."""
        halves = {ROLLOUT: PLAN_DAYS, Snapshot.type: SNAPSHOT_DAYS, Timestamp.type: TIMESTAMP_DAYS}
        due = [
            role
            for role, days in halves.items()
            if (found := self.newest(role)) is not None
            and found.signed.expires - datetime.now(UTC) < timedelta(days=days) / 2
        ]
        if due:
            self._renew(online, plans=ROLLOUT in due)
        return bool(due)

    def plan(self, kind: str) -> Plan | None:
        """The plan in force."""
        document = self.newest(ROLLOUT)
        target = None if document is None else document.signed.targets.get(f"{ROLLOUT}-{kind}")
        return None if target is None else plan_from(kind, target.custom or {})

    def put_plan(self, plan: Plan, online: PrivateKeyTypes) -> None:
        """Publishes a plan. Raises ReleaseError: no such release is signed."""
        targets = self.newest(Targets.type)
        names = () if targets is None else targets.signed.targets
        if not any(name.startswith(f"{plan.kind}-{plan.version}-") for name in names):
            raise ReleaseError(f"{plan.kind} {plan.version} is not among the published releases")
        self._renew(online, plan)

    def releases(self) -> dict[str, Mapping[str, Any]]:
        """Name of each published release -> its custom fields."""
        targets = self.newest(Targets.type)
        found = {} if targets is None else targets.signed.targets
        return {name: target.custom or {} for name, target in found.items()}

    def _next_targets(self) -> Targets:
        """The staged targets, else the published ones as their next version."""
        staged = self.staged / "targets.json"
        if staged.is_file():
            return cast(Targets, _read(staged).signed)
        published = self.newest(Targets.type)
        if published is None:
            return Targets(version=1, expires=_in_days(OFF_LINE_DAYS))
        published.signed.version += 1
        published.signed.expires = _in_days(OFF_LINE_DAYS)
        return cast(Targets, published.signed)

    def _publish(self, role: str) -> str:
        """Publishes a staged file; returns what it lacks, in words, or ""."""
        staged = self.staged / f"{role}.json"
        if not staged.is_file():
            return ""
        document = _read(staged)
        root = self.newest(Root.type)
        if role == Root.type:
            judges = [document, *([root] if root is not None else [])]
        elif root is None:
            return f"{staged} waits for the root"
        else:
            judges = [root]
        for judge in judges:
            result = judge.signed.get_verification_result(role, document.signed_bytes, document.signatures)
            if not result.verified:
                return f"{staged} has {len(result.signed)} of {result.threshold} signatures that it needs"
        self._write(f"{document.signed.version}.{role}.json", document)
        staged.unlink()
        return ""

    def _renew(self, online: PrivateKeyTypes, plan: Plan | None = None, plans: bool = False) -> None:
        """Signs a new snapshot and time stamp; before them the plans, where one is new or `plans`."""
        signer = CryptoSigner(online)
        rollout = self.newest(ROLLOUT)
        if plan is not None or plans or rollout is None:
            signed = Targets(version=1) if rollout is None else rollout.signed
            signed.version = 1 if rollout is None else signed.version + 1
            signed.expires = _in_days(PLAN_DAYS)
            if plan is not None:
                target = TargetFile.from_data(f"{ROLLOUT}-{plan.kind}", b"", ["sha256"])
                target.unrecognized_fields["custom"] = plan.fields()
                signed.targets[target.path] = target
            rollout = Metadata(signed)
            self._signed(f"{signed.version}.{ROLLOUT}.json", rollout, signer)
        targets = self.newest(Targets.type)
        assert targets is not None and rollout is not None
        known = self.newest(Snapshot.type)
        snapshot = Snapshot(
            version=1 if known is None else known.signed.version + 1, expires=_in_days(SNAPSHOT_DAYS)
        )
        snapshot.meta = {
            "targets.json": MetaFile(targets.signed.version),
            f"{ROLLOUT}.json": MetaFile(rollout.signed.version),
        }
        self._signed(f"{snapshot.version}.snapshot.json", Metadata(snapshot), signer)
        stamp = self.newest(Timestamp.type)
        version = 1 if stamp is None else stamp.signed.version + 1
        timestamp = Timestamp(
            version=version, expires=_in_days(TIMESTAMP_DAYS), snapshot_meta=MetaFile(snapshot.version)
        )
        self._signed("timestamp.json", Metadata(timestamp), signer)  # last: it shows clients the rest

    def _signed(self, name: str, document: Document, signer: CryptoSigner) -> None:
        document.signatures.clear()
        document.sign(signer)
        root = self.newest(Root.type)
        role = name.removesuffix(".json").rpartition(".")[2]
        judge = self.newest(Targets.type) if role == ROLLOUT else root
        assert judge is not None
        try:
            judge.signed.verify_delegate(role, document.signed_bytes, document.signatures)
        except (RepositoryError, ValueError) as error:
            raise ReleaseError(f"that is not the online key of {self.folder}: {error}") from error
        self._write(name, document)

    def _write(self, name: str, document: Document) -> None:
        self.metadata.mkdir(parents=True, exist_ok=True)
        write_whole_file(self.metadata / name, [document.to_bytes(JSONSerializer())], 0o644)

    def _stage(self, name: str, document: Document) -> None:
        self.staged.mkdir(parents=True, exist_ok=True)
        write_whole_file(self.staged / name, [document.to_bytes(JSONSerializer())], 0o644)


def sign_metadata(path: Path, key: PrivateKeyTypes) -> str:
    """Adds a signature to a staged file of a repository; returns its role. Raises ReleaseError."""
    document = _read(path)
    try:
        document.sign(CryptoSigner(key), append=True)
    except (ValueError, TypeError) as error:
        raise ReleaseError(f"{path}: this key cannot sign a repository: {error}") from error
    write_whole_file(path, [document.to_bytes(JSONSerializer())], 0o644)
    return str(document.signed.type)


def _read(path: Path) -> Document:
    try:
        return Metadata.from_bytes(path.read_bytes())
    except (RepositoryError, OSError) as error:
        raise ReleaseError(f"{path} cannot be read: {error}") from error


def _in_days(days: float) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
