"""Bad repositories: each is refused by name in one sentence; a good one is taken after it."""

import json
import re
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata
from update_scene import (
    Scene,
    WebServer,
    drip,
    drip_chunk,
    drip_head,
    endless,
    make_bundle,
    nothing,
    redirect,
    send,
    web_server,
)

from opq_gateway.update import repository as under_test
from opq_gateway.update.journal import UpdateFolder
from opq_gateway.update.repository import Repository
from opq_gateway.update.trees import tree_tag, unpack
from opq_proto.release.plan import ReleaseError

OLD = datetime(2020, 1, 1, tzinfo=UTC)
BUNDLE = f"gateway-0.2.0-{tree_tag()}.zip"


@dataclass
class World:
    """A good repository with a bundle and a plan, a server, and a gateway's folder that trusts the root."""

    scene: Scene
    server: WebServer
    folder: UpdateFolder
    bundles: Path
    later: list[Callable[[], object]] = field(default_factory=list)

    def look(self) -> None:
        """What a gateway does, up to the building."""
        repository = Repository(self.server.url, self.folder)
        repository.refresh()
        plan = repository.plan("gateway")
        assert plan is not None
        release = repository.release("gateway", plan.version, tree_tag())
        repository.fetch(release, self.folder.bundle)
        shutil.rmtree(self.folder.wheels, ignore_errors=True)
        unpack(self.folder.bundle, self.folder.wheels, plan.version)

    def newest(self, role: str) -> str:
        found = self.scene.repository.newest(role)
        assert found is not None
        return "timestamp.json" if role == "timestamp" else f"{found.signed.version}.{role}.json"

    def file(self, role: str) -> Path:
        return self.scene.repository.metadata / self.newest(role)

    def target(self) -> Path:
        return next(self.scene.repository.targets.glob(f"*.{BUNDLE}"))

    def expire(self, role: str, *keys: Any) -> None:
        self.scene.change(self.newest(role), lambda signed: setattr(signed, "expires", OLD), *keys)

    def again(self, bundle: Path, version: str = "0.2.0", **facts: Any) -> None:
        """Another bundle under the name of the good one, rightly signed."""
        self.target().unlink()
        targets = self.scene.repository.newest("targets")
        assert targets is not None
        del targets.signed.targets[BUNDLE]
        self.scene.repository._write(self.newest("targets"), targets)
        self.scene.add(bundle, version, **facts)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Path]:
    folder = tmp_path_factory.mktemp("made")
    scene = Scene(folder / "repository")
    scene.add(make_bundle(folder, "0.2.0"), "0.2.0")
    scene.roll_out("0.2.0")
    return scene, folder


@pytest.fixture
def world(made: tuple[Scene, Path], tmp_path: Path) -> Iterator[World]:
    scene, bundles = made
    copy = tmp_path / "repository"
    shutil.copytree(scene.repository.folder, copy)
    own = object.__new__(Scene)
    own.__dict__.update(scene.__dict__)
    own.repository = type(scene.repository)(copy)
    folder = UpdateFolder(tmp_path / "gateway")
    own.trust(folder.path)
    with web_server(copy) as server:
        yield World(own, server, folder, bundles)


def _bundle(world: World, *members: str, version: str = "0.2.0") -> Path:
    path = world.folder.path.parent / "other.zip"
    with zipfile.ZipFile(path, "w") as file:
        facts = {"version": version, "require": f"opq-toolkit=={version}", "tag": tree_tag()}
        file.writestr("bundle.json", json.dumps(facts))
        for member in members:
            file.writestr(member, b"x")
    return path


def _seen_then_older(world: World, role: str) -> None:
    """The gateway has seen a newer one; now the older files come back, with their good signatures."""
    before = {path: path.read_bytes() for path in world.scene.repository.metadata.iterdir()}
    world.scene.roll_out("0.2.0", percent=99)
    world.look()
    if role == "timestamp":
        for path, data in before.items():
            path.write_bytes(data)
        return
    old = 1 if role == "targets" else None

    def older(signed: Any) -> None:
        meta = signed.meta["targets.json"] if role == "targets" else signed.snapshot_meta
        meta.version = old or meta.version - 1

    if role == "targets":  # an attacker with the online key signs a new snapshot that names old targets
        world.scene.change(world.newest("snapshot"), older, world.scene.online)
        world.scene.change("timestamp.json", lambda signed: None, world.scene.online)
        shutil.copy(world.file("snapshot"), world.scene.repository.metadata / "99.snapshot.json")
        world.scene.change(
            "99.snapshot.json", lambda signed: setattr(signed, "version", 99), world.scene.online
        )

    def raise_version(signed: Any) -> None:
        signed.version += 1
        if role == "targets":
            signed.snapshot_meta.version = 99
        else:
            older(signed)

    world.scene.change("timestamp.json", raise_version, world.scene.online)


def _frozen(world: World) -> None:
    """The gateway has seen all of it, and it is not signed again."""
    world.look()
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    world.scene.change("timestamp.json", lambda signed: setattr(signed, "expires", soon), world.scene.online)
    shutil.rmtree(world.folder.metadata)
    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()))


def _root(world: World, *keys: Any) -> None:
    """A second root, signed by these keys only."""
    document: Metadata[Any] = Metadata.from_file(str(world.file("root")))
    document.signed.version = 2
    path = world.scene.repository.metadata / "2.root.json"
    document.to_file(str(path))
    Scene.sign(path, *keys)


def _twice_one_key(world: World) -> None:
    _root(world, world.scene.roots[0])
    path = world.scene.repository.metadata / "2.root.json"
    document = json.loads(path.read_bytes())
    document["signatures"] = document["signatures"] * 2
    path.write_text(json.dumps(document))


def _other_version(world: World, role: str) -> None:
    """Mix and match: a file of another state of the same repository under the present one's name."""
    old = (world.scene.repository.metadata / f"1.{role}.json").read_bytes()
    world.file(role).write_bytes(old)


def _plan(world: World, **custom: Any) -> None:
    def change(signed: Any) -> None:
        signed.targets["rollout-gateway"].unrecognized_fields["custom"].update(custom)

    world.scene.change(world.newest("rollout"), change, world.scene.online)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _last_bit_turned(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _answer(world: World, end: str, answer: Callable[[Any], object]) -> None:
    world.server.answers[end] = answer


def _huge(world: World) -> None:
    path = _bundle(world, "a-1-py3-none-any.whl")
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\1\2") + 24  # the size unpacked, in the directory
    data[at : at + 4] = (4_000_000_000).to_bytes(4, "little")
    path.write_bytes(data)
    world.again(path)


def _damaged(world: World, at: int, *bits: int) -> None:
    """Bits of the first wheel's entries, in the head and in the directory, are changed."""
    path = _bundle(world, "a-1-py3-none-any.whl")
    data = bytearray(path.read_bytes())
    for head, place in ((data.rindex(b"PK\3\4"), at), (data.rindex(b"PK\1\2"), at + 2)):
        for bit in bits:
            data[head + place] |= bit
    path.write_bytes(data)
    world.again(path)


def _doubled(world: World) -> None:
    path = _bundle(world, "a-1-py3-none-any.whl")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as file:
        file.writestr("a-1-py3-none-any.whl", b"other")
    world.again(path)


def _facts(world: World) -> None:
    """A bundle.json of 10 MB, which takes 10 kB."""
    path = _bundle(world)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bundle.json", b" " * 10_000_000)
    world.again(path)


def _link(world: World) -> None:
    """A link to a file outside, under the name of a wheel: it is unpacked as a file that is not a wheel."""
    path = _bundle(world)
    with zipfile.ZipFile(path, "a") as file:
        entry = zipfile.ZipInfo("../../current")
        entry.external_attr = 0o120777 << 16
        file.writestr(entry, "/etc/passwd")
    world.again(path)


REFUSED = "the repository is refused: "
DATE = REFUSED + "it is out of date.*"
VERSION = REFUSED + "it is older than an earlier state.*"
KEYS = REFUSED + "it is not signed by enough.*"
OTHER = REFUSED + "a file differs from the signed one.*"
LONG = REFUSED + "a file is longer than it may be.*"
BAD = REFUSED + "a file is not valid.*"
FETCH = REFUSED + "fetching a file failed.*"
ELSEWHERE = REFUSED + "it lacks a file, or redirects.*"
SLOW = REFUSED + "it is too slow.*"
CASES: dict[str, tuple[Callable[[World], object], str]] = {
    "timestamp expired": (lambda w: w.expire("timestamp", w.scene.online), DATE + "timestamp"),
    "snapshot expired": (lambda w: w.expire("snapshot", w.scene.online), DATE + "snapshot"),
    "targets expired": (lambda w: w.expire("targets", w.scene.release), DATE + "targets"),
    "root expired": (
        lambda w: (
            _root(w, *w.scene.roots),
            w.scene.change("2.root.json", lambda signed: setattr(signed, "expires", OLD), *w.scene.roots),
        ),
        DATE + "root",
    ),
    "plan expired": (lambda w: w.expire("rollout", w.scene.online), DATE + "rollout"),
    "frozen": (_frozen, DATE + "timestamp"),
    "timestamp rolled back": (lambda w: _seen_then_older(w, "timestamp"), VERSION + "timestamp"),
    "snapshot rolled back": (lambda w: _seen_then_older(w, "snapshot"), VERSION + "snapshot"),
    "targets rolled back": (lambda w: _seen_then_older(w, "targets"), VERSION),
    "timestamp by another key": (
        lambda w: Scene.sign(w.file("timestamp"), w.scene.foreign),
        KEYS + "timestamp",
    ),
    "snapshot by another key": (lambda w: Scene.sign(w.file("snapshot"), w.scene.foreign), KEYS + "snapshot"),
    "releases by another key": (lambda w: Scene.sign(w.file("targets"), w.scene.foreign), KEYS + "targets"),
    "releases by the online key": (lambda w: Scene.sign(w.file("targets"), w.scene.online), KEYS + "targets"),
    "plan by another key": (lambda w: Scene.sign(w.file("rollout"), w.scene.foreign), KEYS + "rollout"),
    "root by other keys": (lambda w: _root(w, w.scene.foreign, w.scene.online), KEYS + "root"),
    "threshold not met": (lambda w: _root(w, w.scene.roots[0]), KEYS + "root"),
    "threshold met by one key twice": (_twice_one_key, BAD + "2.root.json.*signature"),
    "releases without a signature": (lambda w: Scene.sign(w.file("targets")), KEYS + "targets"),
    "changed after signing": (
        lambda w: w.file("targets").write_bytes(w.file("targets").read_bytes().replace(b"0.2.0", b"0.3.0")),
        KEYS + "targets",
    ),
    "mixed: an older snapshot": (lambda w: _other_version(w, "snapshot"), VERSION + "snapshot"),
    "mixed: older releases": (lambda w: _other_version(w, "targets"), VERSION + "targets"),
    "mixed: an older plan": (
        lambda w: (w.scene.roll_out("0.2.0", percent=5), _other_version(w, "rollout")),
        VERSION + "rollout",
    ),
    "endless time stamp": (lambda w: _answer(w, "timestamp.json", endless), LONG),
    "endless root": (lambda w: _answer(w, "2.root.json", endless), LONG),
    "endless bundle": (lambda w: _answer(w, BUNDLE, endless), LONG),
    "truncated metadata": (lambda w: _cut(w.file("targets")), BAD),
    "truncated bundle": (
        lambda w: _answer(
            w, BUNDLE, lambda to: send(to, w.target().read_bytes()[:99], w.target().stat().st_size)
        ),
        FETCH,
    ),
    "bundle shorter than signed": (lambda w: _cut(w.target()), OTHER),
    "bundle longer than signed": (lambda w: w.target().write_bytes(w.target().read_bytes() + b"x"), LONG),
    "wrong hash": (lambda w: w.target().write_bytes(_last_bit_turned(w.target().read_bytes())), OTHER),
    "slow": (lambda w: _answer(w, BUNDLE, drip), SLOW),
    "silent": (lambda w: _answer(w, "timestamp.json", nothing), f"({FETCH}|{SLOW})"),
    "head byte by byte": (lambda w: _answer(w, "timestamp.json", drip_head), SLOW),
    "length of a chunk byte by byte": (lambda w: _answer(w, BUNDLE, drip_chunk), SLOW),
    "redirected metadata": (lambda w: _answer(w, "timestamp.json", redirect), ELSEWHERE + "302"),
    "redirected bundle": (lambda w: _answer(w, BUNDLE, redirect), ELSEWHERE + "302"),
    "missing bundle": (lambda w: w.target().unlink(), ELSEWHERE + "404"),
    "a page of HTML": (lambda w: w.file("timestamp").write_text("<html>Log in to the Wi-Fi</html>"), BAD),
    "nested without end": (lambda w: w.file("timestamp").write_text("[" * 9000), REFUSED),
    "error 500": (lambda w: _answer(w, "timestamp.json", lambda to: to.send_error(500)), ELSEWHERE + "500"),
    "server gone": (lambda w: w.server.close(), FETCH),
    "path in the plan's version": (
        lambda w: _plan(w, version="../../../etc/x"),
        "'../../../etc/x' is not a version",
    ),
    "plan with a text for a number": (lambda w: _plan(w, share="all"), "the plan of gateway has share 'all'"),
    "plan without a release": (
        lambda w: _plan(w, version="0.9.0"),
        "there is no gateway-0.9.0-.* among the signed",
    ),
    "firmware signed under a gateway's name": (
        lambda w: w.again(_bundle(w), custom={"kind": "firmware"}),
        "signed as 'firmware', not as gateway",
    ),
    "path in a bundle": (
        lambda w: w.again(_bundle(w, "../evil-1-py3-none-any.whl")),
        "the bundle has '../evil",
    ),
    "absolute path in a bundle": (
        lambda w: w.again(_bundle(w, "/etc/cron.d/x")),
        "the bundle has '/etc/cron.d/x'",
    ),
    "bundle of another version": (lambda w: w.again(_bundle(w, version="0.1.5")), "the bundle is of '0.1.5'"),
    "bundle that grows without end": (_huge, "bytes unpacked; want"),
    "encrypted wheel": (lambda w: _damaged(w, 6, 1), "not a bundle of .* is encrypted"),
    "wheel packed in an unknown way": (lambda w: _damaged(w, 8, 99), "not a bundle of .* not supported"),
    "wheel packed wrongly": (lambda w: _damaged(w, 8, 8), "not a bundle of "),
    "wheel twice": (_doubled, "the bundle has 'a-1-py3-none-any.whl'; want wheels, each once"),
    "facts that unpack to 10 MB": (_facts, "bundle.json has more than 10000 bytes"),
    "link in a bundle": (_link, "the bundle has '../../current'"),
    "bundle that is not a zip": (
        lambda w: w.again(Path(__file__)),
        "not a bundle of `opq-tools release build`",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_repository_is_refused_in_words(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, words = CASES[name]
    if SLOW in words:  # the others are told as what they are however busy the machine is
        monkeypatch.setattr(under_test, "GRACE_S", 0.1)
    if FETCH in words and SLOW in words:  # a server that stops for as long is silent, not slow
        monkeypatch.setattr(under_test, "SILENT_S", 0.3)
    spoil(world)
    with pytest.raises(ReleaseError) as refused:
        world.look()
    text = str(refused.value)
    assert re.search(words, text), text
    assert "\n" not in text and len(text) < 400 and "Traceback" not in text
    assert not world.folder.link.exists() and world.folder.read().step == "idle"
    outside = {path.name for path in world.folder.path.parent.iterdir()} - {"other.zip"}
    assert outside == {"update"}, "nothing was written beside its folder"


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 30


def test_a_good_repository_follows_bad_ones(world: World) -> None:
    world.server.answers["timestamp.json"] = endless
    with pytest.raises(ReleaseError):
        world.look()
    world.server.answers["timestamp.json"] = lambda to: send(to, b"<html>")
    with pytest.raises(ReleaseError):
        world.look()
    world.server.answers.clear()
    world.look()
    assert sorted(path.name.partition("-")[0] for path in world.folder.wheels.iterdir()) == [
        "opq_toolkit",
        "pip",
    ]
    world.scene.roll_out("0.2.0", percent=50)
    world.look()


def test_old_keys_introduce_new_ones(world: World) -> None:
    world.look()
    scene, old = world.scene, list(world.scene.roots)
    new_online, new_release = scene.foreign, old[1]
    keys = [each.public_key() for each in old]
    scene.repository.stage_root(keys, [new_release.public_key()], new_online.public_key(), 2, 1)
    scene.release, scene.online = new_release, new_online
    scene.publish()
    scene.roll_out("0.2.0", percent=20)
    world.look()


def test_without_a_root_nothing_is_trusted(world: World) -> None:
    world.folder.root.unlink()
    with pytest.raises(ReleaseError, match=r"root\.json.*names the trusted keys"):
        Repository(world.server.url, world.folder)
    world.folder.root.write_bytes(b"{}")
    with pytest.raises(ReleaseError, match="is not a root of trust"):
        Repository(world.server.url, world.folder)
