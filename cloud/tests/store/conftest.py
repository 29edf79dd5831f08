"""Both stores for one contract suite, and the server that the MongoDB side runs on."""

import importlib.util
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from pymongo import MongoClient

from opq_cloud.store import Store
from opq_cloud.store.embedded import EmbeddedStore
from opq_cloud.store.mongo import MongoStore

KNOWN_WRONG = {
    "nx-27017": {
        "test_a_widened_finding_keeps_its_doubles_exact": "update_one keeps 15 digits of a double",
        "test_every_double_of_a_measurement_comes_back_exactly": "refuses NaN and inf",
    },
    "ferretdb": {
        "test_every_double_of_a_measurement_comes_back_exactly": "closes the connection on NaN",
    },
}
"""Server -> test -> what it answers wrongly; each is skipped alone, and says so."""

_notes: list[str] = []


def _load(name: str) -> ModuleType:
    """A module of this folder: the tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Place:
    """Where a store lies; `open` may be called several times, as several processes would."""

    kind: str
    where: str

    def open(self) -> Store:
        return EmbeddedStore(Path(self.where)) if self.kind == "embedded" else MongoStore(self.where)


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    servers = _load("mongo_servers")
    with servers.a_server(tmp_path_factory.mktemp("mongo"), _notes.append) as server:
        if server is None:
            _notes.append("no MongoDB server of any kind: its half of the suite was skipped")
            pytest.skip(_notes[-1])
        _notes.append(f"MongoDB side tested with {server.how}")
        yield server


@pytest.fixture
def mongo_uri(mongo_server: object, request: pytest.FixtureRequest) -> Iterator[str]:
    kind, uri = mongo_server.kind, mongo_server.uri  # type: ignore[attr-defined]
    name = getattr(request.node, "originalname", request.node.name)
    reason = KNOWN_WRONG.get(kind, {}).get(name)
    if reason is not None:
        pytest.skip(f"known wrong answer of {kind}: {reason}")
    base, _, options = uri.partition("?")
    database = f"opq_{uuid.uuid4().hex[:12]}"
    yield f"{base.rstrip('/')}/{database}{'?' if options else ''}{options}"
    with MongoClient(uri) as client:
        client.drop_database(database)


@pytest.fixture(params=["embedded", "mongo"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "mongo":
        return Place("mongo", request.getfixturevalue("mongo_uri"))
    return Place("embedded", str(tmp_path / "opq.db"))


@pytest.fixture
def open_again(place: Place) -> Iterator[Callable[[], Store]]:
    """Another store on the same data; all are closed in the end."""
    opened: list[Store] = []

    def another() -> Store:
        opened.append(place.open())
        return opened[-1]

    yield another
    for store in opened:
        store.close()


@pytest.fixture
def store(open_again: Callable[[], Store]) -> Store:
    return open_again()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for note in _notes:
        terminalreporter.write_line(f"store: {note}")
