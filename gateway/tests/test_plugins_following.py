"""A host follows another's folder: what is current there runs here, whatever the folder looks like."""

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plugin_zips import Whose, plugin_zip, stored
from waiting import wait_for

from opq_plugins.host.following import AGAIN_S, Following
from opq_plugins.host.plugins import Plugins
from opq_plugins.policy import Policy
from opq_plugins.sdk import RowError

CODE = """
from opq_plugins import sdk


class Function(sdk.Function):
    calls = 0

    def exec(self, args, context):
        self.calls += 1
        return ["VERSION", self.calls]

    def export_state(self):
        return self.calls

    def import_state(self, version, state):
        self.calls = state
"""
POLICY = Policy(trusted=frozenset({"f", "g"}), trial_s=120.0)
"""In this process, which is quick; what a worker adds is tested beside it."""
INSIDE = {"kind": "function", "mode": "inproc"}


class Pair:
    """The host that installs, and the one that follows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = Plugins(folder, POLICY)
        self.now_s = 0.0
        self.changes: list[str] = []
        self.between = threading.RLock()
        self.following = Following(
            folder,
            {"function"},
            POLICY,
            between=self.between,
            on_change=lambda kind, symbol: self.changes.append(symbol),
            monotonic_s=lambda: self.now_s,
        )

    def install(self, version: str, code: str = CODE, name: str = "f", **more: str) -> None:
        raw = plugin_zip(name, version, code=code.replace("VERSION", version), **{**INSIDE, **more})
        self.host.create("function", name, stored(self.host.uploads, raw))

    def use(self, name: str = "f") -> Callable[[], list[object]]:
        make = self.following.function(name)
        assert make is not None
        function = make()
        return lambda: list(function.exec([1], Whose()))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    made.following.close()
    made.host.close()


def test_another_hosts_plugins_are_followed(pair: Pair) -> None:
    pair.following.poll()
    assert pair.following.types("function") == []
    pair.install("1.0.0")
    pair.following.poll()
    call = pair.use()
    assert call() == ["1.0.0", 1]
    pair.install("1.0.1")
    assert call() == ["1.0.0", 2]
    pair.following.poll()
    assert call() == ["1.0.1", 3], "with the state of the old one"
    pair.host.rollback("f")
    pair.following.poll()
    assert call() == ["1.0.0", 4]
    pair.install("1.0.2")
    pair.following.poll()
    assert sorted(pair.following._store.versions("f")) == ["1.0.0", "1.0.2"]
    pair.host.delete("function", "f")
    pair.following.poll()
    with pytest.raises(RowError, match="not installed"):
        call()
    assert pair.following.types("function") == []
    assert pair.changes == ["f"] * 5
    assert (pair.following.problem, pair.following.unreadable) == ("", 0)


def test_a_later_follower_finds_everything(pair: Pair) -> None:
    pair.install("1.0.0")
    pair.install("1.0.1")
    pair.install("2.0.0", name="g")
    pair.following.poll()
    assert (pair.use("f")(), pair.use("g")()) == (["1.0.1", 1], ["2.0.0", 1])


def test_plugins_of_other_kinds_are_not_started(pair: Pair) -> None:
    pair.host.create("sink", "s", stored(pair.host.uploads, plugin_zip("s")))
    pair.following.poll()
    assert pair.following.types("sink") == [] and pair.following.status_of("sink", "s") == {}
    assert pair.following.troubles() == {}


def test_an_unfit_version_leaves_the_old_one(pair: Pair) -> None:
    """It does not run here, and is tried again."""
    pair.install("1.0.0")
    pair.following.poll()
    call = pair.use()
    pair.install("1.0.1")
    file = pair.folder / "plugins" / "f" / "1.0.1" / "plugin.json"
    good = file.read_text()
    file.write_text("{}")
    pair.following.poll()
    assert call() == ["1.0.0", 1]
    (told,) = pair.following.troubles().values()
    assert told.startswith("f 1.0.1 does not run: ")
    assert told.endswith("; 1.0.0 goes on")
    file.write_text(good)
    pair.following.poll()
    assert call() == ["1.0.0", 2], "not before its time"
    pair.now_s = AGAIN_S
    pair.following.poll()
    assert call() == ["1.0.1", 3]
    assert pair.following.troubles() == {}


def test_a_withdrawn_version_is_forgotten(pair: Pair) -> None:
    pair.install("1.0.0")
    pair.following.poll()
    pair.install("1.0.1")
    (pair.folder / "plugins" / "f" / "1.0.1" / "plugin.json").write_text("{}")
    pair.following.poll()
    assert list(pair.following.troubles()) == ["f"]
    pair.host.rollback("f")
    pair.following.poll()
    assert pair.following.troubles() == {}
    assert pair.use()() == ["1.0.0", 1]


def test_a_version_failing_its_trial_stays_away(pair: Pair) -> None:
    """The old version comes back."""
    pair.install("1.0.0")
    pair.following.poll()
    call = pair.use()
    pair.install("1.0.1", CODE.replace('return ["VERSION", self.calls]', "raise KeyError('x')"))
    pair.following.poll()
    for _ in range(2):
        with pytest.raises(KeyError):
            call()
    wait_for(lambda: pair.following.status_of("function", "f")["version"] == "1.0.0")
    pair.following.poll()
    assert call()[0] == "1.0.0"
    wait_for(lambda: "taken back to 1.0.0" in pair.following.troubles().get("f", ""))
    pair.host.rollback("f")
    pair.following.poll()
    assert pair.following.troubles() == {}
    assert call()[0] == "1.0.0"


def test_a_reinstalled_number_is_other_code(pair: Pair) -> None:
    pair.install("1.0.0")
    pair.following.poll()
    pair.host.delete("function", "f")
    pair.install("1.0.0", CODE.replace("VERSION", "other"))
    pair.following.poll()
    assert pair.use()() == ["other", 1]


def test_an_unreadable_index_changes_nothing(pair: Pair) -> None:
    pair.install("1.0.0")
    pair.following.poll()
    call = pair.use()
    book = pair.folder / "plugins" / "installed.sqlite"
    kept = book.with_name("kept")
    with sqlite3.connect(book) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    book.rename(kept)
    pair.following.poll()
    assert "has been removed" in pair.following.problem
    assert pair.following.lacking() == []
    book.write_bytes(b"garbage " * 1000)
    pair.following.poll()
    assert "cannot be read" in pair.following.problem
    assert pair.following.unreadable == 2
    assert call() == ["1.0.0", 1]
    shutil.copy(kept, book.with_name("new"))
    book.with_name("new").rename(book)
    pair.following.poll()
    assert (pair.following.problem, call()) == ("", ["1.0.0", 2])


@pytest.mark.parametrize("column, value", [("version", "../../1.0.0"), ("name", "../f"), ("version", None)])
def test_strange_names_lead_to_no_other_folder(pair: Pair, column: str, value: str) -> None:
    pair.install("1.0.0")
    with sqlite3.connect(pair.folder / "plugins" / "installed.sqlite") as db:
        if value is None:
            db.execute("DELETE FROM version")
        else:
            db.execute(f"UPDATE version SET {column} = ?", (value,))
            db.execute(f"UPDATE current SET {column} = ?", (value,))
    db.close()
    pair.following.poll()
    assert pair.following.problem
    assert pair.following.lacking() == ["installed.sqlite"]
    assert pair.following.types("function") == []


def test_nothing_changes_while_the_owner_holds(pair: Pair) -> None:
    pair.install("1.0.0")
    pair.following.poll()
    call = pair.use()
    pair.install("1.0.1")
    looking = threading.Thread(target=pair.following.poll)
    with pair.between:
        looking.start()
        seen = {str(call()[0]) for _ in range(1000)}
        assert looking.is_alive()
    looking.join(240)
    assert seen == {"1.0.0"}
    assert call()[0] == "1.0.1"


def test_a_follower_installs_and_writes_nothing(pair: Pair) -> None:
    pair.install("1.0.0")
    before = sorted(path for path in pair.folder.rglob("*") if path.suffix != ".pyc")
    other = Following(pair.folder, {"function"}, POLICY)
    other.poll()
    assert not hasattr(other, "create") and not hasattr(other, "delete")
    other.close()
    after = sorted(path for path in pair.folder.rglob("*") if path.suffix != ".pyc")
    assert [path for path in after if path.name != "__pycache__"] == [
        path for path in before if path.name != "__pycache__"
    ]


def test_our_own_policy_decides_trust(pair: Pair) -> None:
    pair.install("1.0.0")
    strict = Following(pair.folder, {"function"}, Policy(require_signature=True))
    strict.poll()
    assert "has no signature, which the policy requires" in strict.troubles()["f"]
    assert strict.lacking() == []
    strict.close()
    careful = Following(pair.folder, {"function"}, Policy())
    careful.poll()
    told = careful.status_of("function", "f")
    assert (told["version"], told["mode"], told["trouble"]) == ("1.0.0", "process", "")
    assert careful.status_of("function", "g") == {}
    careful.close()
    assert careful.status_of("function", "f")["version"] == "1.0.0"
