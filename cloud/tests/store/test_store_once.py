"""No method of the store is written twice: the databases differ in their driver and in the log alone."""

import ast
from pathlib import Path

STORE = Path(__file__).resolve().parents[2] / "opq_cloud" / "store"
INTERFACES = ("Documents", "Driver", "PeopleDriver", "TrendRows")
"""What each database implements by itself."""
LOG = {
    "all_measurements",
    "append_columns",
    "append_measurements",
    "highest_sequence",
    "last_minutes",
    "latest_measurements",
    "measurements",
    "newest_ms",
    "sequences",
}
"""The log of Measurements, which each database stores in its own form."""
NOT_SHARED = {"seal"}
"""Methods of one database's log that are not part of `CloudStore`."""


def every_class() -> dict[str, ast.ClassDef]:
    found: dict[str, ast.ClassDef] = {}
    for path in sorted(STORE.rglob("*.py")):
        nodes = [each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.ClassDef)]
        for node in nodes:
            assert node.name not in found, f"{path}: the store has two classes {node.name}"
            found[node.name] = node
    return found


def public_methods(of: ast.ClassDef) -> set[str]:
    methods = (each for each in of.body if isinstance(each, ast.FunctionDef))
    return {each.name for each in methods if not each.name.startswith("_")}


def with_bases(name: str, classes: dict[str, ast.ClassDef]) -> set[str]:
    """The class and all classes of the store that it inherits from."""
    bases = {ast.unparse(base) for base in classes[name].bases} & classes.keys()
    return {name}.union(*(with_bases(base, classes) for base in bases))


def test_no_store_method_is_written_twice() -> None:
    classes = every_class()
    parts = with_bases("EmbeddedStore", classes) | with_bases("MongoStore", classes)
    places: dict[str, list[str]] = {}
    for part in sorted(parts):
        for method in public_methods(classes[part]):
            places.setdefault(method, []).append(part)
    twice = {method for method, found in places.items() if len(found) > 1}
    assert twice == LOG, {method: places[method] for method in twice ^ LOG}
    contract: set[str] = set()
    for name in with_bases("CloudStore", classes):
        contract |= public_methods(classes[name])
    assert set(places) - contract == NOT_SHARED, "a method of the store stands in its interface"
    assert contract - set(places) == {"intervals", "people", "place"}, "which each store sets as attributes"


def test_a_driver_has_exactly_its_interfaces_methods() -> None:
    classes = every_class()
    interface = set[str]().union(*(public_methods(classes[name]) for name in INTERFACES))
    for name in ("Documents", "Driver", "TrendRows"):
        for database in ("Sqlite", "Mongo"):
            assert public_methods(classes[database + name]) <= public_methods(classes[name]), name
    for name in ("AccountsDriver", "MongoAccountsDriver"):
        assert public_methods(classes[name]) <= interface, name
