"""The source `file`: what cannot be read is told and the rest comes; a log comes once, however rotated."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_engine import EVERYWHERE
from source_streams import Stream, made, running
from waiting import wait_for

from opq_rules.sources import file


@pytest.mark.parametrize("kind", ["json", "lines", "csv"])
def test_file_reads_no_device_or_pipe(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b'{"k": 1}' * 10)[:-9])
    for path, packed in (("/dev/zero", ""), ("pipe", ""), ("cut.gz", "gzip")):
        stream = Stream()
        source = made(file.Source(EVERYWHERE), str(tmp_path / path), fileType=kind, decompression=packed)
        with running(source, stream):
            wait_for(lambda stream=stream: stream.errors)
        assert (stream.up, stream.rows) == (False, [])


BAD = (b'{"k":"\xff"}', b"[" * 100_000, b"[1]", b" " * 300_000, b"?", b"1" * 5_000)


@pytest.mark.parametrize("packed", ["", "gzip"])
def test_an_unreadable_line_is_reported_by_number(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other lines are read."""
    monkeypatch.setattr("opq_rules.files.records.LONGEST_BYTES", 200_000)
    path = tmp_path / "a.jsonl"
    text = (
        b"# head\n\n"
        + b"".join(b'%b\n{"k":%d}\r\n' % (bad, k) for k, bad in enumerate(BAD))
        + b'{"k":6}\nend'
    )
    path.write_bytes(gzip.compress(text) if packed else text)
    properties = {"fileType": "lines", "ignoreStartLines": 1, "ignoreEndLines": 1, "decompression": packed}
    stream = Stream()
    with running(made(file.Source(EVERYWHERE), str(path), sendInterval=1, **properties), stream):
        wait_for(lambda: len(stream.rows) == 7)
    assert [row["k"] for row in stream.rows] == list(range(7))
    assert [each.split(":")[0] for each in stream.errors] == [f"{path}, line {3 + 2 * k}" for k in range(6)]
    for taken, offset in enumerate(stream.offsets[:-1], 1):
        assert offset == ["a.jsonl", 2 * taken]
        again, rest = made(file.Source(EVERYWHERE), str(path), **properties), Stream(limit=7 - taken)
        again.rewind(offset)
        with running(again, rest):
            wait_for(lambda rest=rest: rest.stopped)
        assert [row["k"] for row in rest.rows] == list(range(taken, 7))
        assert len(rest.errors) == 6 - taken, "what was told before is not told again"


def test_an_unreadable_csv_row_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other rows are read."""
    monkeypatch.setattr("opq_rules.files.records.LONGEST_BYTES", 200_000)
    wrong = (b"1,\xff", b"2," + b"x" * 140_000, b"3," + b"x" * 210_000, b'4,"a\n\xffb"')
    text = b"k,v\n" + b"".join(b'%b\n%d,"a\n\nb"\n' % (bad, k) for k, bad in enumerate(wrong))
    path, stream = tmp_path / "a.csv", Stream()
    path.write_bytes(text)
    properties = {"fileType": "csv", "hasHeader": True}
    with running(made(file.Source(EVERYWHERE), str(path), sendInterval=1, **properties), stream):
        wait_for(lambda: len(stream.rows) == 4)
    assert stream.rows == [{"k": str(k), "v": "a\n\nb"} for k in range(4)]
    assert [each.split(":")[0] for each in stream.errors] == [f"{path}, line {k}" for k in (2, 6, 10, 15)]
    assert stream.offsets == [["a.csv", 2 * k] for k in (1, 2, 3, 4)]
    again, rest = made(file.Source(EVERYWHERE), str(path), **properties), Stream(limit=1)
    again.rewind(["a.csv", 6])
    with running(again, rest):
        wait_for(lambda: rest.stopped)
    assert [row["k"] for row in rest.rows] == ["3"]


def test_csv_may_end_its_lines_in_any_way(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"k,v\r1,x\r2,y")
    (tmp_path / "b").write_bytes(b'k,v\r\n3,"x\r\ny"\r\n')
    stream = Stream()
    with running(
        made(file.Source(EVERYWHERE), "", path=str(tmp_path), fileType="csv", hasHeader=True), stream
    ):
        wait_for(lambda: len(stream.rows) == 3)
    assert stream.rows == [{"k": "1", "v": "x"}, {"k": "2", "v": "y"}, {"k": "3", "v": "x\ny"}]
    assert not stream.errors


@pytest.mark.parametrize(
    ("kind", "packed", "bad"),
    [
        ("json", "", b'[{"k":1}'),
        ("json", "", b'[{"k":"\xff"}]'),
        ("json", "", b"[" * 100_000),
        ("json", "", b" " * 300_000),
        ("lines", "gzip", gzip.compress(b"\n" * 100, mtime=0)[:-1]),
        ("lines", "gzip", b"no gzip"),
        ("csv", "", b"\xff\n"),
    ],
)
def test_a_broken_file_delays_its_folder_briefly(
    tmp_path: Path, kind: str, packed: str, bad: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opq_rules.files.records.LONGEST_BYTES", 200_000)
    monkeypatch.setattr(file, "_POLL_S", 0.001)
    good = {"json": b'{"k":7}', "lines": b'{"k":7}', "csv": b"k\n7\n"}[kind]
    (tmp_path / "a").write_bytes(bad)
    (tmp_path / "b").write_bytes(gzip.compress(good) if packed else good)
    properties = {"path": str(tmp_path), "fileType": kind, "hasHeader": True, "decompression": packed}
    stream = Stream()
    with running(made(file.Source(EVERYWHERE), "", actionAfterRead="remove", **properties), stream):
        wait_for(lambda: stream.rows and not (tmp_path / "b").exists())
    assert (tmp_path / "a").read_bytes() == bad, "nothing was taken of it"
    assert [str(row["k"]) for row in stream.rows] == ["7"]
    assert len(stream.errors) == 2 and all(str(tmp_path / "a") in each for each in stream.errors)


def test_a_broken_file_is_read_once_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "_POLL_S", 0.001)
    monkeypatch.setattr(file, "_STILL_POLLS", 1_000_000)
    monkeypatch.setattr(file, "_MAX_POLLS", 1_000_000)
    path, stream = tmp_path / "a", Stream()
    path.write_text('[{"k":1},')
    (tmp_path / "b").write_text('{"k":3}')
    with running(made(file.Source(EVERYWHERE), "", path=str(tmp_path), interval=1), stream):
        wait_for(lambda: stream.up is False)
        path.write_text('[{"k":1},{"k":2}]')
        wait_for(lambda: len(stream.rows) >= 3 and stream.up)
        assert [row["k"] for row in stream.rows[:3]] == [1, 2, 3]
        monkeypatch.setattr(file, "_STILL_POLLS", 2)
        # In one step: a reader between the emptying and the writing would meet two broken files.
        (tmp_path.parent / "broken").write_text("[")
        (tmp_path.parent / "broken").replace(path)
        wait_for(lambda: any("is skipped" in each for each in stream.errors))
        told, begun = len(stream.errors), len(stream.rows)
        wait_for(lambda: len(stream.rows) > begun + 3)
        assert len(stream.errors) == told
        path.write_text('{"k":4}')
        wait_for(lambda: {"k": 4} in stream.rows)


def test_an_endless_file_delays_its_folder_briefly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "_POLL_S", 0.0)
    (tmp_path / "b").write_text('{"k":3}')

    class Written(Stream):
        def wait(self, seconds: float) -> bool:
            with (tmp_path / "a").open("a") as log:
                log.write("[")
            return super().wait(seconds)

    (tmp_path / "a").write_text("[")
    stream = Written()
    with running(made(file.Source(EVERYWHERE), "", path=str(tmp_path)), stream):
        wait_for(lambda: stream.rows)
    assert stream.rows == [{"k": 3}]


def test_a_lone_broken_file_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read when it has changed."""
    monkeypatch.setattr(file, "_POLL_S", 0.001)
    path, stream, looked = tmp_path / "a.json", Stream(), []
    stream.wait = lambda seconds, wait=stream.wait: looked.append(1) or wait(seconds)  # type: ignore[method-assign]
    path.write_text("[")
    with running(made(file.Source(EVERYWHERE), str(path)), stream):
        wait_for(lambda: len(looked) > 20)
        assert (stream.up, len(stream.errors)) == (False, 1)
        path.write_text('[{"k":1}]')
        wait_for(lambda: stream.rows)
    assert stream.rows == [{"k": 1}] and stream.up


def test_file_reads_json_csv_and_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"k":1},{"k":2},3]')
    (tmp_path / "a.csv").write_text("# made by hand\nk,v\n1,x\n2,y\nend\n")
    (tmp_path / "a.jsonl").write_text('{"k":1}\n\nbroken\n{"k":2}\n')
    cases: list[tuple[str, dict[str, Any], list[dict[str, Any]], int]] = [
        ("a.json", {}, [{"k": 1}, {"k": 2}], 1),
        (
            "a.csv",
            {"fileType": "csv", "hasHeader": True, "ignoreStartLines": 1, "ignoreEndLines": 1},
            [{"k": "1", "v": "x"}, {"k": "2", "v": "y"}],
            0,
        ),
        ("a.jsonl", {"fileType": "lines"}, [{"k": 1}, {"k": 2}], 1),
    ]
    for name, properties, rows, errors in cases:
        stream = Stream()
        with running(made(file.Source(EVERYWHERE), name, path=str(tmp_path), **properties), stream):
            wait_for(lambda stream=stream, rows=rows: len(stream.rows) >= len(rows))
        assert stream.rows == rows
        assert len(stream.errors) == errors, stream.errors


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 30), stop_at=st.integers(1, 30), bad=st.sets(st.integers(0, 29)))
def test_a_file_continues_from_its_offset(
    tmp_path_factory: pytest.TempPathFactory, count: int, stop_at: int, bad: set[int]
) -> None:
    bad = bad - {count + 4}
    folder = tmp_path_factory.mktemp("lines")
    for name, numbers in (("a.jsonl", range(count)), ("b.jsonl", range(count, count + 5))):
        (folder / name).write_text(
            "".join("?\n" if k in bad else json.dumps({"k": k}) + "\n" for k in numbers)
        )
    want = [k for k in range(count + 5) if k not in bad]
    first = Stream(limit=min(stop_at, len(want)))
    source = made(file.Source(EVERYWHERE), "", path=str(folder), fileType="lines", sendInterval=1)
    with running(source, first):
        wait_for(lambda: first.stopped)
    second = Stream(limit=max(1, len(want) - len(first.rows)))
    again = made(file.Source(EVERYWHERE), "", path=str(folder), fileType="lines")
    again.rewind(json.loads(json.dumps(first.offset)))
    with running(again, second):
        if len(first.rows) < len(want):
            wait_for(lambda: second.stopped)
    assert [row["k"] for row in [*first.rows, *second.rows]] == want


def lines(*numbers: int) -> str:
    return "".join(f'{{"k":{k}}}\n' for k in numbers)


def test_a_missing_file_is_waited_for(tmp_path: Path) -> None:
    stream = Stream()
    with running(made(file.Source(EVERYWHERE), str(tmp_path / "later.json")), stream):
        wait_for(lambda: stream.up is False)
        (tmp_path / "later.json").write_text('{"k":1}')
        wait_for(lambda: stream.rows)
    assert "later.json" in stream.errors[0]


def test_a_file_name_cannot_leave_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"write a path without '\.\.'"):
        file.Source(EVERYWHERE).configure("../secret", {"path": str(tmp_path)})
