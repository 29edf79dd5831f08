"""Both stores for one contract suite, and the server that the MongoDB side runs on."""

import importlib.util
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pymongo import MongoClient

from opq_cloud.store import CloudStore
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.mongo import mongo_server
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.store.records.incidents import original_index

KNOWN_WRONG = {
    "nx-27017": {
        "test_every_double_of_a_measurement_comes_back_exactly": "refuses NaN",
    },
    "ferretdb": {
        "test_every_double_of_a_measurement_comes_back_exactly": "closes the connection on NaN",
        "test_four_processes_never_get_the_same_id": "updates of several clients are not atomic",
        "test_concurrent_writers_keep_each_others_fields": "updates of several clients are not atomic",
        "test_concurrent_writers_of_an_account_lose_nothing": "updates of several clients are not atomic",
    },
}
"""Server -> test -> what it answers wrongly. What FerretDB gets wrong runs on nx-27017 when that does
better, else it is skipped alone, and says so."""

SERVER_LIMIT_S = 900
"""Time limit of a test that may be the one to build or fetch the server."""

_notes: list[str] = []


def _load(name: str) -> ModuleType:
    """A module of this folder: the tests are not a package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


sharding = _load("sharding")


@pytest.fixture(autouse=True)
def whole_first_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request has the first slice of the index, and its end is waited for, on a busy machine too."""
    monkeypatch.setattr(original_index, "FIRST_SLICE_S", 60.0)
    monkeypatch.setattr(original_index, "END_S", 60.0)


@dataclass(frozen=True)
class Place:
    """Where a store lies; `open` may be called several times, as several processes would."""

    kind: str
    where: str

    def open(self) -> CloudStore:
        return EmbeddedStore(Path(self.where)) if self.kind == "embedded" else MongoStore(self.where)


class Servers:
    """The chosen server, and nx-27017 for what that one gets wrong; started when first asked for."""

    def __init__(self, folder: Path) -> None:
        _load("ferretdb_build")
        self._module = _load("mongo_servers")
        self._folder = folder
        self._running = ExitStack()
        self._started: dict[str, Any] = {}

    def uri(self, test: str) -> str:
        """Address of the server that `test` runs on; skips it where none can do it."""
        server = self._start("first")
        if server is None:
            pytest.skip("no MongoDB server of any kind could be had")
        reason = KNOWN_WRONG.get(server.kind, {}).get(test)
        if reason is None:
            return str(server.uri)
        second = self._start("nx_27017") if server.kind != "nx-27017" else None
        if second is None or test in KNOWN_WRONG[second.kind]:
            pytest.skip(f"known wrong answer of {server.kind}: {reason}")
        return str(second.uri)

    def _start(self, name: str) -> Any:
        if name not in self._started:
            folder = self._folder / name
            folder.mkdir()
            kinds = (name,) if name != "first" else None
            server = self._running.enter_context(self._module.a_server(folder, _notes.append, kinds))
            self._started[name] = server
            _notes.append(f"MongoDB side tested with {server.how if server else 'no server: skipped'}")
        return self._started[name]

    def close(self) -> None:
        self._running.close()


@pytest.fixture(scope="session")
def mongo_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("mongo"))
    yield servers
    servers.close()


@contextmanager
def new_database(uri: str) -> Iterator[str]:
    """Address of a database on a server, which is dropped afterwards."""
    base, _, options = uri.partition("?")
    database = f"opq_{uuid.uuid4().hex[:12]}"
    with MongoClient[Any](uri) as client:
        if sharding.is_sharded(client):
            sharding.shard(client, database)
    yield f"{base.rstrip('/')}/{database}{'?' if options else ''}{options}"
    with MongoClient[Any](uri) as client:
        client.drop_database(database)


@pytest.fixture
def server_uri(mongo_servers: Servers, request: pytest.FixtureRequest) -> str:
    return mongo_servers.uri(getattr(request.node, "originalname", request.node.name))


@pytest.fixture
def mongo_uri(server_uri: str) -> Iterator[str]:
    with new_database(server_uri) as uri:
        yield uri


@pytest.fixture(scope="module")
def databases_of_file() -> Iterator[Callable[[str], str]]:
    """Server -> a database that the tests of a file have one after the other."""
    with ExitStack() as stack:
        yield cache(lambda server: stack.enter_context(new_database(server)))


@pytest.fixture
def cleared_uri(server_uri: str, databases_of_file: Callable[[str], str]) -> Iterator[str]:
    """A database without documents; its indexes are most of what a new one costs."""
    uri = databases_of_file(server_uri)
    yield uri
    with MongoClient[Any](uri) as client:
        database = client.get_default_database()
        for name in database.list_collection_names():
            database[name].delete_many({})


@pytest.fixture(scope="session")
def sharded_changes() -> Iterator[Any]:
    """Sees the changes that the store's own clients make."""
    listener = sharding.ShardedChanges()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mongo_server, "MongoClient", partial(MongoClient, event_listeners=[listener]))
        yield listener


@pytest.fixture(autouse=True)
def every_change_has_its_shard_key(sharded_changes: Any) -> Iterator[None]:
    sharded_changes.refused.clear()
    yield
    assert sharded_changes.refused == []


@pytest.fixture(params=["embedded", "mongo"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "mongo":
        return Place("mongo", request.getfixturevalue("cleared_uri"))
    return Place("embedded", str(tmp_path / "opq.db"))


@pytest.fixture
def open_again(place: Place) -> Iterator[Callable[[], CloudStore]]:
    """Another store on the same data; all are closed in the end."""
    opened: list[CloudStore] = []

    def another() -> CloudStore:
        opened.append(place.open())
        return opened[-1]

    yield another
    for store in opened:
        store.close()


@pytest.fixture
def store(open_again: Callable[[], CloudStore]) -> CloudStore:
    return open_again()


LONG_WITH_SERVER = {
    "test_a_deleted_box_leaves_only_shared_incidents",
    "test_a_visible_part_equals_a_filter_of_all",
    "test_four_processes_store_a_measurement_once",
    "test_four_processes_store_a_waveform_once",
    "test_late_rows_correct_every_level",
    "test_many_boxes_are_one_group",
}
"""Tests that take FerretDB a minute: always run on the embedded store, on a server with -m slow."""


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        is_long = "mongo" in item.name and getattr(item, "originalname", "") in LONG_WITH_SERVER
        if is_long and here in item.path.parents:
            item.add_marker(pytest.mark.slow)
        needs_server = "mongo" in item.name or "mongo_uri" in getattr(item, "fixturenames", ())
        if needs_server and here in item.path.parents and item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.timeout(SERVER_LIMIT_S), append=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for note in _notes:
        terminalreporter.write_line(f"store: {note}")
