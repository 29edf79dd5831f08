"""What scripts call and peers read, as short texts: commands, configuration keys, REST, JSON keys, formats.

python tools/tests/contract_snapshot.py             writes them all to tools/tests/contracts
python tools/tests/contract_snapshot.py commands    writes those of a folder only

Only names, types, ranges and defaults are kept, never the words that explain them, so that a text here
changes when a script would break, and not when a sentence is improved.
"""

import contextlib
import enum
import importlib
import json
import re
import sqlite3
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import httpx
from pydantic import TypeAdapter

if TYPE_CHECKING:
    from house_under_test import House

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "contracts"
SCRIPTS = {
    "opq-tools": "opq_tools.cli:tools",
    "opq-gateway": "opq_gateway.__main__:main",
    "opq-gateway rules": "opq_rules.api.rules_command:run",
    "opq-cloud": "opq_cloud.__main__:cloud",
}
CONFIGURATIONS = {
    "gateway": "opq_gateway.config:Config",
    "cloud": "opq_cloud.core.settings.config:CloudConfig",
    "rules": "opq_rules.api.rules_config:Config",
}


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


# Commands


def commands(script: str) -> str:
    """The tree of one script: each command with its arguments, options, types and defaults."""
    return "\n".join(_command(_load(SCRIPTS[script]), script)) + "\n"


def _command(command: click.Command, path: str) -> Iterator[str]:
    yield path
    context = click.Context(command, info_name=path)
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    options = [param for param in command.params if isinstance(param, click.Option)]
    for param in [*arguments, *sorted(options, key=lambda option: sorted(option.opts))]:
        yield f"  {_parameter(param)}"
    if isinstance(command, click.Group):
        for name in sorted(command.list_commands(context)):
            inner = command.get_command(context, name)
            assert inner is not None, f"{path} lists {name} and does not have it"
            yield from _command(inner, f"{path} {name}")


def _parameter(param: click.Parameter) -> str:
    names = "/".join([*sorted(param.opts), *sorted(param.secondary_opts)])
    words = [names.upper() if isinstance(param, click.Argument) else names]
    if not getattr(param, "is_flag", False):
        words.append(_click_type(param.type))
    if param.nargs != 1:
        words.append(f"nargs={param.nargs}")
    words += [word for word in ("required", "multiple") if getattr(param, word, False)]
    default = param.default() if callable(param.default) else param.default
    if default not in (None, False, ()) and "Sentinel" not in type(default).__name__:
        words.append(f"default={default}")
    if getattr(param, "envvar", None):
        words.append(f"envvar={param.envvar}")
    return " ".join(words)


def _click_type(kind: click.ParamType) -> str:
    if isinstance(kind, click.Choice):
        return "{" + ",".join(str(getattr(choice, "value", choice)) for choice in kind.choices) + "}"
    if isinstance(kind, click.IntRange | click.FloatRange):
        low = "" if kind.min is None else f"{kind.min:g}" + (" (above)" if kind.min_open else "")
        high = "" if kind.max is None else f"{kind.max:g}" + (" (below)" if kind.max_open else "")
        return f"{'integer' if isinstance(kind, click.IntRange) else 'float'} {low}..{high}"
    return {"filename": "path", "directory": "path"}.get(kind.name, kind.name)


# JSON schemas: of configuration files and of requests


def _schema_lines(
    schema: Any, known: Mapping[str, Any], name: str, seen: tuple[str, ...] = ()
) -> Iterator[str]:
    """`name: type = default`, one line a key, inner tables under their dotted names."""
    schema = dict(schema)
    default = schema.get("default")
    reference = schema.get("$ref") or next(
        (one["$ref"] for one in schema.get("allOf", ()) if "$ref" in one), None
    )
    if reference is not None:
        target = reference.rpartition("/")[2]
        if target in seen:
            yield f"{name}: as above"
            return
        yield from _schema_lines(known[target], known, name, (*seen, target))
        return
    inner = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(inner) == 1 and (inner[0].get("properties") or "$ref" in inner[0] or "items" in inner[0]):
        yield from _schema_lines({**inner[0], "default": default}, known, name, seen)
    elif "properties" in schema:
        for key, value in schema["properties"].items():
            needed = " (required)" if key in schema.get("required", ()) else ""
            inside = list(_schema_lines(value, known, f"{name}.{key}" if name else key, seen))
            yield from inside if len(inside) > 1 else [inside[0] + needed]
    elif isinstance(schema.get("items"), dict) and "$ref" in schema["items"]:
        yield from _schema_lines(schema["items"], known, f"{name}[]", seen)
        if default:
            yield f"{name} = {json.dumps(default)}"
    else:
        text = f"{name}: {_schema_type(schema)}"
        yield f"{text} = {json.dumps(default)}" if default is not None else text


def _schema_type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(sorted({_schema_type(one) for one in schema["anyOf"]}))
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    words = [str(schema.get("type", "any"))]
    if schema.get("items"):
        words.append(f"of {_schema_type(schema['items'])}")
    keys = (
        "minimum",
        "exclusiveMinimum",
        "maximum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "pattern",
        "format",
    )
    words += [f"{key}={schema[key]}" for key in keys if key in schema]
    return " ".join(words)


def configuration(kind: str) -> str:
    """Every key of a configuration file, its type, range and default."""
    schema = TypeAdapter(_load(CONFIGURATIONS[kind])).json_schema()
    return "\n".join(sorted(_schema_lines(schema, schema.get("$defs", {}), ""))) + "\n"


def rest(document: Mapping[str, Any]) -> str:
    """An OpenAPI document: paths, parameters, bodies, answers."""
    known = document.get("components", {}).get("schemas", {})
    lines = []
    for path, method, operation in sorted(
        (path, method.upper(), operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ):
        answers = [code for code in operation["responses"] if code != "422"]
        lines.append(f"{method} {path} -> {', '.join(answers)}")
        for param in operation.get("parameters", ()):
            if param["in"] == "path":
                continue  # stands in the address
            needed = " (required)" if param.get("required") else ""
            lines += [
                f"  {param['in']} {line}{needed}"
                for line in _schema_lines(param["schema"], known, param["name"])
            ]
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            body = list(_schema_lines(content.get("schema", {}), known, ""))
            lines += [f"  {kind}", *(f"    {line.removeprefix(': ')}" for line in body)]
    return "\n".join(lines) + "\n"


# JSON answers


def keys_of(document: Any, data_keys: Iterable[str] = ()) -> list[str]:
    """`a.b[].c: kind` of every value; what stands under the name of a piece of data is `a.*`."""
    found: dict[str, set[str]] = {}
    _walk(document, "", frozenset(data_keys), found)
    return [f"{name or '.'}: {' or '.join(sorted(kinds))}" for name, kinds in sorted(found.items())]


def _walk(value: Any, name: str, data_keys: frozenset[str], found: dict[str, set[str]]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            key = "*" if name in data_keys else key
            _walk(inner, f"{name}.{key}" if name else key, data_keys, found)
    elif isinstance(value, list) and value:
        for inner in value:
            _walk(inner, f"{name}[]", data_keys, found)
    else:
        kinds = {dict: "object", list: "list", str: "text", bool: "bool", int: "number", float: "number"}
        found.setdefault(name, set()).add(kinds.get(type(value), "null"))


def _answers(
    client: httpx.Client, requests: Iterable[tuple[str, str, Any]], data_keys: Iterable[str] = ()
) -> str:
    lines = []
    for method, path, body in requests:
        answer = client.request(method, path, json=body) if body is not None else client.request(method, path)
        kind = answer.headers.get("content-type", "").partition(";")[0]
        lines.append(f"{method} {path} -> {answer.status_code} {kind}".rstrip())
        if kind.endswith("json"):
            lines += [f"  {line}" for line in keys_of(answer.json(), data_keys)]
        elif path.endswith("/metrics"):
            lines += [f"  {line}" for line in metrics(answer.text)]
    return "\n".join(lines) + "\n"


def metrics(text: str) -> list[str]:
    """Names, kinds and labels of Prometheus' text."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    labels: dict[str, set[str]] = {name: set() for name in kinds}
    for name, inside in re.findall(r"^([a-zA-Z_:][\w:]*)\{([^}]*)\}", text, re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r"(\w+)=", inside))
    return [
        f"{name} {kinds.get(name, '')} {','.join(sorted(labels[name]))}".rstrip() for name in sorted(labels)
    ]


STREAM = 'CREATE STREAM demo (v FLOAT, box STRING) WITH (DATASOURCE="demo", TYPE="memory", FORMAT="json")'
TABLE = 'CREATE TABLE limits () WITH (DATASOURCE="limits", TYPE="memory", KIND="scan")'
RULE = {
    "id": "r1",
    "sql": "SELECT avg(v) AS m FROM demo WHERE v > 126 GROUP BY TUMBLINGWINDOW(ss, 10)",
    "actions": [{"memory": {"topic": "out"}}],
    "options": {"qos": 1},
    "tags": ["a"],
}
RULES_REQUESTS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/", None),
    ("GET", "/ping", None),
    ("GET", "/health", None),
    ("GET", "/streams", None),
    ("POST", "/streams", {"sql": STREAM}),
    ("POST", "/streams", {"sql": STREAM}),
    ("POST", "/streams", {"sql": "CREATE STREAM"}),
    ("POST", "/tables", {"sql": TABLE}),
    ("GET", "/streamdetails", None),
    ("GET", "/tabledetails", None),
    ("GET", "/streams/demo", None),
    ("GET", "/streams/nowhere", None),
    ("GET", "/streams/demo/schema", None),
    ("POST", "/rules/validate", RULE),
    ("POST", "/rules/validate", {**RULE, "sql": "SELECT 1"}),
    ("POST", "/rules", RULE),
    ("GET", "/rules", None),
    ("GET", "/rules/r1", None),
    ("GET", "/rules/r1/status", None),
    ("GET", "/v2/rules/r1/status", None),
    ("GET", "/rules/status/all", None),
    ("GET", "/rules/usage/cpu", None),
    ("GET", "/rules/tags/match", {"keys": ["a"]}),
    ("GET", "/rules/r1/topo", None),
    ("GET", "/rules/r1/explain", None),
    ("GET", "/rules/r1/schema", None),
    ("GET", "/rules/r1/scantables", None),
    ("PUT", "/keyed_state/limit", 108.5),
    ("PUT", "/keyed_state/limit", [108.5]),
    ("GET", "/keyed_state", None),
    ("DELETE", "/keyed_state/limit", None),
    ("POST", "/rules/bulkstop", {"tags": ["a"]}),
    ("POST", "/rules/bulkstart", {"tags": ["a"]}),
    ("POST", "/rules/r1/stop", None),
    ("POST", "/rules/r1/start", None),
    ("POST", "/rules/r1/restart", None),
    ("PUT", "/rules/r1/tags", {"tags": ["b"]}),
    ("POST", "/rules", {"id": "r2", "sql": "SELEC", "actions": []}),
    ("POST", "/batch/req", [{"method": "GET", "path": "/ping"}]),
    ("GET", "/plugins/udfs", None),
    ("GET", "/plugins/sources", None),
    ("GET", "/plugins/sinks", None),
    ("GET", "/plugins/functions", None),
    ("GET", "/plugins/packages", None),
    ("GET", "/plugins/triggers", None),
    ("GET", "/plugins/analyses", None),
    ("POST", "/plugins/functions", {"name": "none", "file": "http://127.0.0.1:9/none.zip"}),
    ("GET", "/metadata/sources", None),
    ("GET", "/metadata/sinks", None),
    ("GET", "/metadata/functions", None),
    ("POST", "/ruleset/export", None),
    ("GET", "/config/uploads", None),
    ("GET", "/metrics", None),
    ("DELETE", "/rules/r1", None),
    ("DELETE", "/streams/demo", None),
    ("PATCH", "/configs", {"debug": False}),
)


def rules_texts(folder: Path) -> dict[str, str]:
    """REST of a rule engine: its OpenAPI document, and what it answers to one short session."""
    from rules_house import House

    house = House(folder / "rules", alone=True)
    try:
        return {
            "rest/rules.txt": rest(house.http.get("/openapi.json").json()),
            "answers/rules.txt": _answers(house.http, RULES_REQUESTS),
            "files/rules.txt": "".join(files_of(folder / "rules" / "data")),
        }
    finally:
        house.stop()


def view_texts(folder: Path) -> dict[str, str]:
    """The page's server over a store with one sag."""
    import demo
    from waiting import wait_for

    scene = demo.Scene(folder / "view")
    demo.fill(scene.store, time.time_ns(), minutes=5)
    with scene, httpx.Client(base_url=scene.url, timeout=ANSWERS_S, trust_env=False) as client:
        wait_for(lambda: _shares_are_known(client))  # a slow machine reads some Boxes only at a later call
        document = client.get("/api/v1/openapi.json").json()
        plain = [path for path, methods in document["paths"].items() if "get" in methods and "{" not in path]
        tables = {path for path in plain if path.startswith("/exports/")}
        numbered = ("/incidents/1", "/incidents/1/findings", "/events/1", "/incidents/77777")
        paths = [*sorted(set(plain) - {"/live"} - tables), *numbered]
        return {
            "rest/view-v1.txt": rest(document),
            "answers/view.txt": _answers(client, [("GET", f"/api/v1{path}", None) for path in paths]),
            "files/store.txt": "".join(files_of(folder / "view")),
        }


def _shares_are_known(client: httpx.Client) -> bool:
    """Whether View has read of each Box how much it measured."""
    found = client.get("/api/v1/boxes").json()["items"]
    return all(box["availability"]["until_ms"] is not None for box in found)


# Files


def files_of(folder: Path) -> Iterator[str]:
    """Names below a folder; of a database its tables, columns and indexes."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = re.sub(r"\d{6,}", "N", str(path.relative_to(folder)))
        if name.endswith(("-wal", "-shm", "-journal")):
            continue
        yield f"{name}\n"
        if path.read_bytes()[:15] == b"SQLite format 3":
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                yield from (f"  {line}\n" for line in tables_of(database))


def tables_of(database: sqlite3.Connection) -> Iterator[str]:
    yield f"user_version {database.execute('PRAGMA user_version').fetchone()[0]}"
    rows = database.execute(
        "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1 DESC, 2"
    )
    for kind, name in rows.fetchall():
        if kind == "table":
            columns = database.execute(f"PRAGMA table_info('{name}')").fetchall()
            yield f"table {name}: " + ", ".join(
                f"{row[1]} {row[2]}{' key' if row[5] else ''}".strip() for row in columns
            )
        else:
            columns = database.execute(f"PRAGMA index_info('{name}')").fetchall()
            yield f"{kind} {name}: " + ", ".join(str(row[2]) for row in columns)


def key_files(folder: Path) -> str:
    _tools("keygen", "--out", str(folder / "curve"), "--server", "--boxes", "1,2-3")
    lines = []
    for path in sorted((folder / "curve").rglob("*")):
        if path.is_file():
            text = re.sub(r'"[^"]*"', '"…"', re.sub(r"^ *#.*\n", "", path.read_text(), flags=re.MULTILINE))
            private = "" if path.stat().st_mode & 0o077 else " for its owner alone"
            lines.append(f"{path.relative_to(folder / 'curve')}{private}\n")
            lines += [f"  {line}\n" for line in text.splitlines() if line]
    return "".join(lines)


def packages(folder: Path) -> str:
    """Each kind of plug-in from its template: the zip's files, and the keys of the manifests."""
    lines = []
    for kind in ("source", "sink", "function", "trigger", "analysis"):
        source, target = folder / f"plugin-{kind}", folder / f"{kind}.zip"
        _tools("plugin", "new", kind, f"my_{kind}", str(source))
        _tools("plugin", "pack", str(source), "--out", str(target))
        with zipfile.ZipFile(target) as archive:
            for name in sorted(archive.namelist()):
                lines.append(f"{kind}: {name}")
                if name.endswith(".json") and name != "samples.json":
                    lines += [
                        f"    {line}" for line in keys_of(json.loads(archive.read(name)), ("files", "sha256"))
                    ]
    return "\n".join(lines) + "\n"


def wire() -> str:
    """Messages and fields of protobuf, and the codes of the serial link; proto/golden has its bytes."""
    from opq_proto.link import messages as link_messages
    from opq_proto.wire import mauka_pb2, opq_pb2, opqbox3_pb2

    lines = []
    for module in (opq_pb2, opqbox3_pb2, mauka_pb2):
        for message in module.DESCRIPTOR.message_types_by_name.values():
            lines += _message(message)
    for name, value in sorted(vars(link_messages).items()):
        if isinstance(value, enum.EnumMeta) and value.__module__ == link_messages.__name__:
            lines.append(
                f"link {name}: "
                + ", ".join(f"{name} {int(each)}" for name, each in value.__members__.items())
            )
    return "\n".join(lines) + "\n"


def _message(message: Any) -> Iterator[str]:
    def kind(field: Any) -> str:
        if field.message_type:
            return str(field.message_type.name)
        return str(field.enum_type.name) if field.enum_type else f"type {field.type}"

    yield f"{message.full_name}: " + ", ".join(
        f"{field.number} {field.name} {kind(field)}" for field in message.fields
    )
    for inner in message.nested_types:
        yield from _message(inner)


# JSON of commands


def command_answers(folder: Path) -> str:
    """Keys of the documents that docs/reference/contracts.md promises and that need no running system."""
    import numpy as np

    lines = []

    def add(name: str, text: str, data_keys: Iterable[str] = ()) -> None:
        lines.append(name)
        lines.extend(f"  {line}" for line in keys_of(json.loads(text), data_keys))

    at = np.arange(24_000) / 12_000
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * at)
    volts[10_000:12_000] *= 0.7
    np.save(folder / "dip.npy", volts)
    add("analyze FILE --json", _tools("analyze", str(folder / "dip.npy"), "--rate-hz", "12000", "--json"))
    (folder / "gateway.toml").write_text("ring_hours = 1\nnothing = 2\n")
    add(
        "config check FILE --json",
        _tools("config", "check", str(folder / "gateway.toml"), "--json", fails=True),
    )
    case = {
        "name": "one",
        "stream_ddl": [STREAM],
        "sql": "SELECT v FROM demo",
        "input": [{"stream": "demo", "ts": 1_765_792_486_013, "data": {"v": 1.5}}],
    }
    (folder / "cases.json").write_text(json.dumps([case, {**case, "sql": "SELEC"}]))
    add("rules try CASES", _tools("rules", "try", str(folder / "cases.json")), ("[].emissions[][]",))
    return "\n".join(lines) + "\n"


def _tools(*arguments: str, fails: bool = False) -> str:
    """Output of one command, run in this process."""
    from click.testing import CliRunner

    from opq_tools.cli import tools

    done = CliRunner().invoke(tools, list(arguments), prog_name="opq-tools")
    assert bool(done.exit_code) == fails, f"{arguments}: {done.output} {done.exception!r}"
    return done.stdout


# A whole system


def system_text(up: "House") -> str:
    """What the processes of `up` answer over HTTP and what they write; names alone, as values vary.

    Some counters appear with what they count first: it is asked until all names that are kept are there,
    ANSWERS_S at most.
    """
    golden = (GOLDEN / "answers/system.txt").read_text(encoding="utf-8").partition("export measurements\n")[0]
    up.wait_for("on the page")
    end_s = time.monotonic() + ANSWERS_S
    lines = _system_answers(up.offset, up.data_dir)
    while not set(golden.splitlines()) <= set(lines) and time.monotonic() < end_s:
        time.sleep(0.2)
        lines = _system_answers(up.offset, up.data_dir)
    where = ("--data-dir", str(up.data_dir))
    exported = json.loads(_tools("export", "measurements", *where, "--box", "1", "--format", "json"))
    lines += ["export measurements", *sorted({f"  {x.partition(': ')[0]}" for x in keys_of(exported)})]
    lines += ["files", *(f"  {line.rstrip()}" for line in files_of(up.data_dir))]
    return "\n".join(lines) + "\n"


def _system_answers(offset: int, data_dir: Path) -> list[str]:
    from engine_token import token_auth

    from opq_proto.kit.ports import PORTS

    lines, auth = [], token_auth(data_dir)
    with httpx.Client(timeout=ANSWERS_S, trust_env=False) as client:
        for port, path in SYSTEM_REQUESTS:
            url = f"http://127.0.0.1:{PORTS[port] + offset}{path}"
            answer = client.get(url, auth=auth if port == "rules" else None)
            lines.append(f"{port} {path} -> {answer.status_code}")
            if path == "/metrics":
                lines += [f"  {line}" for line in metrics(answer.text)]
            else:
                lines += sorted({f"  {line.partition(': ')[0]}" for line in keys_of(answer.json())})
    return lines


ANSWERS_S = 240
SYSTEM_REQUESTS = (
    ("mauka_health", "/"),
    ("mauka_health", "/status"),
    ("mauka_health", "/metrics"),
    ("gateway_health", "/"),
    ("gateway_health", "/metrics"),
    ("gateway_health", "/measured"),
    ("view", "/health"),
    ("view", "/metrics"),
    ("view", "/api/v1/incidents"),
    ("rules", "/rules"),
)


def quick_texts(folder: Path) -> dict[str, str]:
    """All that needs no process beside this one."""
    return {
        **{f"commands/{script.replace(' ', '-')}.txt": commands(script) for script in SCRIPTS},
        **{f"config/{kind}.txt": configuration(kind) for kind in CONFIGURATIONS},
        **rules_texts(folder),
        **view_texts(folder),
        "files/keys.txt": key_files(folder),
        "files/plugins.txt": packages(folder),
        "files/wire.txt": wire(),
        "answers/commands.txt": command_answers(folder),
    }


def how_to_renew(name: str) -> str:
    """The command that writes the text of this name, and those of its folder."""
    return f"python tools/tests/contract_snapshot.py {name.partition('/')[0]}"


def main(
    parts: Sequence[str], golden: Path = GOLDEN, quick: Callable[[Path], dict[str, str]] = quick_texts
) -> None:
    """Writes the texts of these folders, of all where none is named; prints what has changed or is gone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = quick(folder / "quick")
        if not parts or "answers" in parts:
            from house_under_test import house

            with house(folder / "system") as up:
                texts["answers/system.txt"] = system_text(up)
    known = {name.partition("/")[0] for name in texts}
    if unknown := sorted(set(parts) - known):
        sys.exit(f"there are no contracts {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    chosen = {name: text for name, text in texts.items() if not parts or name.partition("/")[0] in parts}
    for name, text in chosen.items():
        path = golden / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"renewed  {name}")
    for path in golden.rglob("*.txt"):
        name = path.relative_to(golden).as_posix()
        if name not in chosen and (not parts or name.partition("/")[0] in parts):
            path.unlink()
            print(f"removed  {name}")


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "gateway" / "tests"), str(ROOT / "cloud" / "tests")]
    main(sys.argv[1:])
