"""What every sink has in common: batches, templates, order after a failure, nothing lost on disk."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import SecurityError, TemplateError, UndefinedError

from opq_plugins.sdk import Context, PermanentError, Sink, SinkContext
from opq_rules.delivery import dead_letters
from opq_rules.delivery.dead_letters import DeadLetters
from opq_rules.delivery.pipeline import Parcel, Pipeline, RefusedParcels
from opq_rules.delivery.template import compiled_template
from opq_rules.delivery.transform import divided, encoded, transformer

GO = [
    "if",
    "else",
    "else if",
    "end",
    "range",
    "with",
    "eq",
    "index",
    "json",
    "len",
    ".",
    ".a",
    "$",
    "$x",
    ":=",
    ",",
    "|",
    "(",
    ")",
    "1",
    '"a"',
]


class Rule:
    rule_id, op_id, instance_id = "r", "sink_0", 0

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.told: list[tuple[str, dict[str, Any]]] = []

    def log(self, event: str, **facts: Any) -> None:
        self.told.append((event, facts))

    def get_state(self, key: str) -> Any:
        return self.kept.get(key)

    def put_state(self, key: str, value: Any) -> None:
        self.kept[key] = value


class Shelf(Sink):
    """Takes what it is given, unless `broken` holds an error to raise."""

    def __init__(self) -> None:
        self.taken: list[tuple[Any, tuple[str, ...]]] = []
        self.broken: Exception | None = None
        self.shut: Exception | None = None
        self.opened = self.closed = 0

    def configure(self, properties: Mapping[str, Any]) -> None: ...
    def open(self, context: Context) -> None:
        if self.shut is not None:
            raise self.shut
        self.opened += 1

    def collect(self, context: SinkContext, data: Any) -> None:
        if self.broken is not None:
            raise self.broken
        self.taken.append((data, tuple(context.row_ids)))

    def close(self, context: Context) -> None:
        self.closed += 1


class Bench:
    """A pipeline with a clock that stops until it is moved."""

    def __init__(
        self, path: Path | None = None, memory: int = 1024, disk: int = 1000, **properties: Any
    ) -> None:
        self.now_s = 100.0
        self.sink, self.done, self.rule = Shelf(), [], Rule()
        shared, _ = divided(properties)
        kept = RefusedParcels(path, memory, disk)
        self.dead = None if path is None else path.parent / "dead-letters"
        letters = None if self.dead is None else DeadLetters(self.dead, "shelf")
        self.pipeline = Pipeline(
            self.sink, self.rule, shared, kept, self.done.extend, lambda: self.now_s, letters
        )

    def data(self) -> list[Any]:
        return [data for data, _ in self.sink.taken]


class Picky(Shelf):
    """Can never store rows with `bad`; `away`: how many calls from now on find no connection."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.away = 0, range(0)

    def collect(self, context: SinkContext, data: Any) -> None:
        self.calls += 1
        if self.calls in self.away:
            raise ConnectionError("away")
        if any(row.get("bad") for row in data):
            raise PermanentError("no column bad")
        super().collect(context, data)


def picky(path: Path, away: range = range(0)) -> Bench:
    bench = Bench(path=path)
    bench.sink = Picky()
    bench.sink.away = away
    bench.pipeline._sink = bench.sink
    return bench


def letters(bench: Bench, rule_id: str = "r") -> list[Any]:
    assert bench.dead is not None
    file = bench.dead / f"{rule_id}.jsonl"
    assert file.stat().st_mode & 0o077 == 0
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_one_unwritable_row_takes_no_other(tmp_path: Path) -> None:
    bench = picky(tmp_path / "kept.sqlite3")
    bench.pipeline.send([{"a": 1}, {"bad": 2}, {"a": 3}], "r:7")
    bench.pipeline.send([{"a": 4}], "r:8")
    assert bench.data() == [[{"a": 1}], [{"a": 3}], [{"a": 4}]]
    assert bench.done == ["r:7", "r:8"] and bench.pipeline.waiting == 0
    (letter,) = letters(bench)
    assert (letter["row"], letter["row_id"], letter["sink"]) == ({"bad": 2}, "r:7/1", "shelf")
    assert letter["why"] == "PermanentError: no column bad"
    counters = bench.pipeline.counters
    assert (counters.dead_letters_total, counters.lost_total) == (1, 1)


def test_single_rows_continue_after_a_lost_connection(tmp_path: Path) -> None:
    bench = picky(tmp_path / "kept.sqlite3", away=range(4, 6))  # call 1 is the whole, 4 the third row
    bench.pipeline.send([{"a": 1}, {"bad": 2}, {"a": 3}, {"bad": 4}], "r:7")
    assert bench.data() == [[{"a": 1}]] and bench.done == []
    for _ in range(3):
        bench.now_s += 60
        bench.pipeline.tick()
    assert bench.data() == [[{"a": 1}], [{"a": 3}]] and bench.done == ["r:7"]
    assert [letter["row"] for letter in letters(bench)] == [{"bad": 2}, {"bad": 4}]


def test_another_error_sends_all_to_dead_letters(tmp_path: Path) -> None:
    bench = Bench(path=tmp_path / "kept.sqlite3")
    bench.sink.broken = ZeroDivisionError("its own fault")
    bench.pipeline.send([{"a": 1}, {"a": 2}], "r:7")
    assert [letter["row"] for letter in letters(bench)] == [{"a": 1}, {"a": 2}] and bench.done == ["r:7"]


def test_a_full_file_of_dead_letters_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "LARGEST_BYTES", 200)
    bench = picky(tmp_path / "kept.sqlite3")
    for k in range(9):
        bench.pipeline.send([{"bad": k + 1}], f"r:{k}")
    assert bench.dead is not None
    files = sorted(file.name for file in bench.dead.iterdir())
    assert files[-1] == "r.jsonl.1" and all(file.stat().st_size < 400 for file in bench.dead.iterdir())
    assert bench.pipeline.counters.dead_letters_total == 9


def test_send_single_sends_row_by_row() -> None:
    """Without it an emission goes as one array."""
    whole, single = Bench(), Bench(sendSingle=True)
    for bench in (whole, single):
        bench.pipeline.send([{"a": 1}, {"a": 2}], "r:7")
    assert whole.sink.taken == [([{"a": 1}, {"a": 2}], ("r:7/0", "r:7/1"))]
    assert single.sink.taken == [({"a": 1}, ("r:7/0",)), ({"a": 2}, ("r:7/1",))]
    assert whole.done == single.done == ["r:7"]


def test_an_empty_emission_is_sent_by_default() -> None:
    told, silent = Bench(), Bench(omitIfEmpty=True)
    for bench in (told, silent):
        bench.pipeline.send([], "r:1")
    assert (told.data(), silent.data()) == ([[]], [])
    assert told.done == silent.done == ["r:1"]


def test_a_batch_goes_when_full_or_old() -> None:
    bench = Bench(batchSize=3, lingerInterval=500)
    for k in range(4):
        bench.pipeline.send([{"k": k}], f"r:{k}")
    assert bench.data() == [[{"k": 0}, {"k": 1}, {"k": 2}]]
    assert bench.pipeline.due_s == 100.5
    bench.now_s = 100.4
    bench.pipeline.tick()
    assert len(bench.data()) == 1
    bench.now_s = 100.5
    bench.pipeline.tick()
    assert bench.data()[1:] == [[{"k": 3}]]
    assert bench.done == ["r:0", "r:1", "r:2", "r:3"]


def test_an_unopenable_sink_loses_nothing() -> None:
    bench = Bench()
    bench.sink.shut = ValueError("the table is being made by another")
    for k in range(3):
        bench.pipeline.send([{"k": k}], f"r:{k}")
    assert bench.done == [] and bench.pipeline.waiting == 3 and bench.pipeline.counters.lost_total == 0
    assert bench.pipeline.counters.connection_status == -1
    assert "being made" in bench.pipeline.counters.last_exception
    bench.sink.shut = None
    bench.now_s += 60
    bench.pipeline.tick()
    assert bench.data() == [[{"k": 0}], [{"k": 1}], [{"k": 2}]] and bench.done == ["r:0", "r:1", "r:2"]
    assert bench.sink.opened == 1


def test_delayed_rows_say_so_on_request(tmp_path: Path) -> None:
    bench = Bench(path=tmp_path / "kept.sqlite3", enableCache=True, resendIndicatorField="late")
    bench.pipeline.send([{"k": 0}], "r:0")
    bench.sink.broken = ConnectionRefusedError("peer away")
    rows: list[Any] = [{"k": 1}, {"k": 2}]
    bench.pipeline.send(rows, "r:1")
    bench.sink.broken, bench.now_s = None, bench.now_s + 1.0
    bench.pipeline.tick()
    assert bench.data() == [[{"k": 0}], [{"k": 1, "late": True}, {"k": 2, "late": True}]]
    assert rows == [{"k": 1}, {"k": 2}] and bench.done == ["r:0", "r:1"]


def test_refused_rows_go_again_in_order() -> None:
    bench = Bench()
    bench.sink.broken = ConnectionRefusedError("peer away")
    for k in range(3):
        bench.pipeline.send([{"k": k}], f"r:{k}")
    assert bench.data() == []
    assert bench.done == []
    assert bench.pipeline.counters.connection_status == -1
    assert "peer away" in bench.pipeline.counters.last_exception
    bench.sink.broken = None
    bench.pipeline.send([{"k": 3}], "r:3")  # it must not overtake
    assert bench.data() == []
    bench.now_s += 1.0
    bench.pipeline.tick()
    assert bench.data() == [[{"k": k}] for k in range(4)]
    assert bench.done == [f"r:{k}" for k in range(4)]
    assert bench.pipeline.due_s is None


def test_a_rows_own_error_drops_it_alone() -> None:
    bench = Bench()
    bench.sink.broken = ValueError("no such column")
    bench.pipeline.send([{"k": 0}], "r:0")
    bench.sink.broken = None
    bench.pipeline.send([{"k": 1}], "r:1")
    assert bench.data() == [[{"k": 1}]]
    assert bench.done == ["r:0", "r:1"]
    assert (bench.pipeline.counters.exceptions_total, bench.pipeline.counters.lost_total) == (1, 1)


def test_without_a_cache_retries_are_counted() -> None:
    bench = Bench(retryCount=2, retryInterval=10)
    bench.sink.broken = TimeoutError()
    bench.pipeline.send([{"k": 0}], "r:0")
    for _ in range(3):
        bench.now_s += 60
        bench.pipeline.tick()
    assert bench.done == ["r:0"]
    assert bench.pipeline.counters.lost_total == 1


def test_retry_pauses_grow_to_half_a_minute() -> None:
    bench = Bench(retryInterval=1000)
    bench.sink.broken = TimeoutError()
    bench.pipeline.send([{"k": 0}], "r:0")
    pauses = []
    for _ in range(8):
        due = bench.pipeline.due_s
        assert due is not None
        pauses.append(due - bench.now_s)
        bench.now_s = due
        bench.pipeline.tick()
    assert pauses[0] == 1.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30.0


def test_rows_on_disk_survive_a_kill(tmp_path: Path) -> None:
    before = Bench(tmp_path / "kept.sqlite", memory=1)
    before.sink.broken = ConnectionError()
    for k in range(4):
        before.pipeline.send([{"k": k}], f"r:{k}")  # the first in memory; a kill loses that one alone
    after = Bench(tmp_path / "kept.sqlite")
    after.pipeline.send([{"k": 9}], "r:9")
    after.pipeline.tick()
    assert after.data() == [[{"k": 1}], [{"k": 2}], [{"k": 3}], [{"k": 9}]]


def test_closing_stores_memory_before_disk(tmp_path: Path) -> None:
    before = Bench(tmp_path / "kept.sqlite", memory=2)
    before.sink.broken = ConnectionError()
    for k in range(5):
        before.pipeline.send([{"k": k}], f"r:{k}")
    before.pipeline.close()
    after = Bench(tmp_path / "kept.sqlite")
    after.pipeline.tick()
    assert after.data() == [[{"k": k}] for k in range(5)]


def test_a_full_disk_cache_drops_the_oldest(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "kept.sqlite", memory=1, disk=2)
    bench.sink.broken = ConnectionError()
    for k in range(5):
        bench.pipeline.send([{"k": k}], f"r:{k}")
    bench.sink.broken = None
    bench.now_s += 10
    bench.pipeline.tick()
    assert bench.data() == [[{"k": 2}], [{"k": 3}], [{"k": 4}]]
    assert bench.pipeline.counters.lost_total == 2
    assert sorted(bench.done) == [f"r:{k}" for k in range(5)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("tab"), min_size=1, max_size=60), st.integers(1, 4))
def test_any_failure_keeps_rows_and_order(steps: str, memory: int) -> None:
    bench = Bench(memory=memory * 100)
    sent = 0
    for step in steps:
        if step == "t":
            bench.pipeline.send([{"k": sent}], f"r:{sent}")
            sent += 1
        elif step == "a":
            bench.sink.broken = None if bench.sink.broken else ConnectionError()
        else:
            bench.now_s += 31
            bench.pipeline.tick()
    bench.sink.broken = None
    bench.now_s += 100
    bench.pipeline.tick()
    assert bench.data() == [[{"k": k}] for k in range(sent)]


@pytest.mark.parametrize(
    ("template", "data", "text"),
    [
        ("{{ v }} V", {"v": 3}, "3 V"),
        ("{{.v}} V", {"v": 3}, "3 V"),
        ("{{.a.b}}", {"a": {"b": "x"}}, "x"),
        ("{{ a.b.c }}", {}, ""),
        ("{{json .}}", [{"v": 1}], '[{"v":1}]'),
        ('{"all": {{toJson .v}}}', {"v": [1, None]}, '{"all": [1,null]}'),
        ("{{range .}}<{{.v}}>{{end}}", [{"v": 1}, {"v": 2}], "<1><2>"),
        ("{{ rows[0].v }}", [{"v": 7}], "7"),
        ("{{range $i, $e := .}}{{$i}}:{{$e.v}},{{end}}", [{"v": 1}, {"v": 2}], "0:1,1:2,"),
        (
            "{{range .}}{{range $k, $v := .o}}{{$k}}={{$v}};{{end}}{{end}}",
            [{"o": {"b": 2, "a": 1}}],
            "a=1;b=2;",
        ),
        (
            "{{range .o}}{{.}}{{end}}{{range .none}}x{{end}}nothing",
            {"o": {"a": 1}, "none": None},
            "1nothing",
        ),
        ("{{.items}}{{.o.keys}}", {"items": 3, "o": {"keys": 4}}, "34"),
        (
            '{"t": "{{.t}}", "q": {{json .t}}}',
            {"t": "a", "n": 0},
            '{"t": "a", "q": "a"}',
        ),
        ("{{ not v }} {{ len }} {{ 'x' if v else 'y' }}", {"v": 0, "len": 5}, "true 5 y"),
        (
            "{{.on}}{{ on }}{{.off}}{{.nil}}{{.none}}",
            {"on": True, "off": False, "nil": None},
            "truetruefalse",
        ),
        ("{% for row in rows %}{{ row | json }};{% endfor %}", [{"v": 7}], '{"v":7};'),
    ],
)
def test_templates_of_both_kinds(template: str, data: Any, text: str) -> None:
    assert compiled_template(template)(data) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ 'a' * 100000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{% for k in range(1000000) %}{% for j in range(1000000) %}x{% endfor %}{% endfor %}",
        "{{ row.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    ],
)
def test_a_template_reaches_neither_python_nor_all_memory(template: str) -> None:
    try:
        text = compiled_template(template)({"v": 1})
    except (SecurityError, UndefinedError, ValueError):
        return
    assert text == ""


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 'x'.expandtabs(1000000000) | length }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ ['x'] | map('center', 1000000000) | first | length }}",
        "{% set a = 'xx' %}" + "{% set a = a ~ a %}" * 40 + "{{ a | length }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for each in rows recursive %}{{ loop(rows) }}{% endfor %}",
        "{% for a in t %}{% for b in t %}{% for c in t %}{% for d in t %}{% endfor %}{% endfor %}{% endfor %}"
        "{% endfor %}",
        "{{ t | join(t | join(t)) | join(t | join(t | join(t))) | length }}",
        "{% include 'x' %}",
    ],
)
def test_a_template_that_grows_without_bound_is_refused(template: str) -> None:
    with pytest.raises((ValueError, TemplateError), match=r"dataTemplate|No filter"):
        compiled_template(template)({"t": "x" * 1000})


@settings(max_examples=100)
@given(st.text('{}.$()|=: "\\\n-,1a', max_size=30) | st.lists(st.sampled_from(GO), max_size=9).map(" ".join))
def test_any_tag_is_read_or_refused(inner: str) -> None:
    for text in ("{{" + inner + "}}", "{{range .}}{{" + inner + "}}{{end}}", "{{" + inner + "}}{{end}}"):
        with contextlib.suppress(ValueError, TypeError, TemplateError):
            compiled_template(text)([{"a": 1}])


def test_loops_in_each_other_end_each_emission_again() -> None:
    written = compiled_template(
        "{% for a in rows %}{% for b in rows %}{% for c in rows %}{% endfor %}{% endfor %}{% endfor %}"
    )
    for _ in range(2):
        with pytest.raises(ValueError, match="more than 1000000 rounds"):
            written([{"v": k} for k in range(200)])
        assert written([{"v": k} for k in range(50)]) == ""
    last = "{% for a in rows %}{{ a.v }}{% if not loop.last %},{% endif %}{% else %}none{% endfor %}"
    assert [compiled_template(last)(rows) for rows in ([{"v": 1}, {"v": 2}], [])] == ["1,2", "none"]


def test_an_endless_template_is_refused() -> None:
    with pytest.raises(ValueError, match="places"):
        compiled_template("{{ v|round(99999999, 'ceil') }}")({"v": 1.5})
    assert compiled_template("{{ v|round(1) }}")({"v": 1.26}) == "1.3"
    with pytest.raises(ValueError, match="nested"):
        compiled_template("{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}")


def test_what_templates_are_for_is_left() -> None:
    row = {"box": 4, "tags": ["a", "b"], "o": {"x": 1.26}}
    assert (
        compiled_template("{{ tags | join(', ') }} {{ o.x | round(1) }} {{ nope | default('-') }}")(row)
        == "a, b 1.3 -"
    )
    assert (
        compiled_template("{% for key, value in o.items() %}{{ key.upper() }}={{ value }}{% endfor %}")(row)
        == "X=1.26"
    )
    assert (
        compiled_template("{{ rows | map(attribute='box') | sum }}|{{ rows | join('+', 'box') }}")([row, row])
        == "8|4+4"
    )


def test_a_wrong_template_names_its_line() -> None:
    for text, told in (
        ("a\n{{if lower .v}}{{end}}", "line 2: .*only {{.field}}, .*write it in Jinja2"),
        ("{{index . 0}}", "write it in Jinja2"),
        ("{{(index . 0).v}}", "write it in Jinja2"),
        ("{{range .}}{{else}}{{end}}", "write it in Jinja2"),
        ("{{with .o}}{{end}}", "write it in Jinja2"),
        ("{{$x := .o}}", "write it in Jinja2"),
        ("{{. | len}}", "write it in Jinja2"),
        ("{{.v .w}}", "write it in Jinja2"),
        ("{{range $x.a}}{{end}}", "nor a variable"),
        ("{{if .v}}", "dataTemplate"),
    ):
        with pytest.raises(ValueError, match=told):
            compiled_template(text)
    with pytest.raises(ValueError, match="dataTemplate, line 2"):
        compiled_template("fine\n{{ nope")


def test_fields_pick_and_delimited_writes_lines() -> None:
    row = {"a": {"x": 1, "y": 2}, "b": 3}
    assert transformer(divided({"fields": ["b"]})[0])([row]) == [{"b": 3}]
    assert transformer(divided({"dataField": "a"})[0])([row]) == [{"x": 1, "y": 2}]
    assert transformer(divided({"dataField": "a", "fields": ["y"]})[0])(row) == {"y": 2}
    assert transformer(divided({"format": "delimited", "delimiter": ";"})[0])([{"p": 1, "q": None}]) == "1;"


@pytest.mark.parametrize("name", ["zlib", "gzip", "flate", "zstd"])
def test_compression_is_undone_by_the_usual_library(name: str) -> None:
    import gzip
    import zlib

    import zstandard

    packed = transformer(divided({"compression": name})[0])([{"v": 1}])
    undo = {
        "zlib": zlib.decompress,
        "gzip": gzip.decompress,
        "flate": lambda data: zlib.decompress(data, wbits=-15),
        "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data),
    }
    assert undo[name](packed) == encoded([{"v": 1}]) == b'[{"v":1}]'


def test_wrong_properties_are_all_named() -> None:
    with pytest.raises(ValueError, match=r"batchSize  is -1; want from 0.*lingerInterval  is 'x'"):
        divided({"batchSize": -1, "lingerInterval": "x", "url": "its own"})


def test_parcels_survive_their_own_encoding(tmp_path: Path) -> None:
    kept = RefusedParcels(tmp_path / "k.sqlite", 0, 10)
    parcel = Parcel([{"a": 1.5, "b": None, "c": [1, {"d": "x"}]}], ("i/0",), ("i",), single=True)
    kept.add(parcel)
    kept.add(parcel)
    kept.drop_first()
    assert kept.first() == parcel


def test_the_log_has_a_sinks_loss_and_return() -> None:
    bench = Bench()
    bench.sink.broken = ConnectionError("peer away")
    for k in range(3):
        bench.pipeline.send([{"k": k}], f"r:{k}")
        bench.now_s += 40
        bench.pipeline.tick()
    bench.sink.broken = None
    bench.now_s += 40
    bench.pipeline.tick()
    assert bench.data() == [[{"k": 0}], [{"k": 1}], [{"k": 2}]]
    assert bench.rule.told == [
        ("sink.lost", {"rule_id": "r", "why": "ConnectionError: peer away"}),
        ("sink.connected", {"rule_id": "r", "waiting": 3}),
    ]


def test_dropped_rows_are_logged_once_a_minute() -> None:
    bench = Bench()
    bench.sink.broken = ValueError("no such column")
    for at_s in (0, 1, 59, 60, 61):
        bench.now_s = 100.0 + at_s
        bench.pipeline.send([{"k": at_s}], f"r:{at_s}")
    why = "ValueError: no such column"
    assert bench.rule.told == [
        ("sink.dropped", {"rule_id": "r", "why": why, "lost_total": 1}),
        ("sink.dropped", {"rule_id": "r", "why": why, "lost_total": 4}),
    ]
