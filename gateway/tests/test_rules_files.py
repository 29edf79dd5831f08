"""The source `file`: what cannot be read is told and the rest comes; a log comes once, however rotated."""

import gzip
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rules_engine import EVERYWHERE
from source_streams import Stream, made, running
from waiting import wait_for

from opq_rules.files.records import PAUSE, open_plain_file
from opq_rules.files.rotation import Generation
from opq_rules.sources import file


@pytest.mark.parametrize("kind", ["json", "lines", "csv"])
def test_file_reads_neither_devices_nor_pipes_nor_what_is_cut(tmp_path: Path, kind: str) -> None:
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
def test_a_line_that_cannot_be_read_is_reported_with_its_number_and_the_rest_comes(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_followed_file_goes_on_behind_a_line_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opq_rules.files.records.LONGEST_BYTES", 200_000)
    path, stream = tmp_path / "a.jsonl", Stream()
    path.touch()
    with (
        running(made(file.Source(EVERYWHERE), str(path), fileType="lines", follow=True), stream),
        path.open("ab", buffering=0) as log,
    ):
        for k, bad in enumerate(BAD):
            for piece in (bad[:150_000], bad[150_000:], b"\n" + lines(k).encode()):
                log.write(piece)
            wait_for(lambda k=k: len(stream.rows) == k + 1)
    assert [row["k"] for row in stream.rows] == list(range(6))
    assert [each.split(":")[0] for each in stream.errors] == [f"{path}, line {1 + 2 * k}" for k in range(6)]


def test_a_row_of_csv_that_cannot_be_read_is_reported_and_the_rest_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_a_broken_file_holds_up_its_folder_for_a_while_only(
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


def test_a_broken_file_of_a_folder_is_read_when_it_is_whole_and_one_that_stays_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        wait_for(lambda: any("is passed over" in each for each in stream.errors))
        told, begun = len(stream.errors), len(stream.rows)
        wait_for(lambda: len(stream.rows) > begun + 3)
        assert len(stream.errors) == told
        path.write_text('{"k":4}')
        wait_for(lambda: {"k": 4} in stream.rows)


def test_a_file_that_is_written_without_end_holds_up_its_folder_for_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_broken_file_by_itself_is_reported_once_and_read_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_a_file_that_is_read_on_from_an_offset_gives_each_record_once(
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


def test_file_follows_lines_that_are_appended_also_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"k":0}\n')
    stream = Stream()
    with (
        running(made(file.Source(EVERYWHERE), str(path), fileType="lines", follow=True), stream),
        path.open("a") as log,
    ):
        wait_for(lambda: len(stream.rows) == 1)
        for piece in ('{"k"', ":1}", '\n{"k":2}\n'):
            log.write(piece)
            log.flush()
        wait_for(lambda: len(stream.rows) == 3)
    assert [row["k"] for row in stream.rows] == [0, 1, 2]


def lines(*numbers: int) -> str:
    return "".join(f'{{"k":{k}}}\n' for k in numbers)


@pytest.mark.parametrize("way", ["renamed", "cut"])
def test_file_follows_a_log_that_is_rotated(tmp_path: Path, way: str) -> None:
    path, old = tmp_path / "log.jsonl", tmp_path / "log.jsonl.1"
    path.write_text(lines(0, 1, 2))
    stream = Stream()
    with running(made(file.Source(EVERYWHERE), str(path), fileType="lines", follow=True), stream):
        wait_for(lambda: len(stream.rows) == 3)
        if way == "cut":
            os.truncate(path, 0)
        else:
            path.rename(old)
            with old.open("a") as log:  # as a writer that has not been told yet
                log.write(lines(3) + '{"k":4}')
        with path.open("a") as log:
            log.write(lines(5))
        wait_for(lambda: stream.rows[-1]["k"] == 5)
    want = [0, 1, 2, 5] if way == "cut" else [0, 1, 2, 3, 4, 5]
    assert [row["k"] for row in stream.rows] == want
    assert not stream.errors


def test_file_that_is_started_again_has_its_head_skipped_whenever_that_comes(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.touch()
    context: Any = SimpleNamespace(wait=lambda seconds: False)
    with Generation(path, partial(open_plain_file, EVERYWHERE.files), 1) as opened:
        found = opened.come(context, lambda opened: False)
        assert next(found) is PAUSE
        with path.open("a") as log:
            for piece in ("# he", "ad"):
                log.write(piece)
                log.flush()
                assert next(found) is PAUSE
            log.write("\n" + lines(1, 2))
        assert [next(found), next(found), next(found)] == [b'{"k":1}', b'{"k":2}', PAUSE]


@pytest.mark.parametrize("old_is_there", [True, False])
def test_file_that_was_rotated_while_nobody_followed_is_read_to_its_end_and_then_the_new_one(
    tmp_path: Path, old_is_there: bool
) -> None:
    path, old = tmp_path / "log.jsonl", tmp_path / "log.jsonl.1"
    path.write_text(lines(0, 1))
    first, second = Stream(), Stream()
    with running(made(file.Source(EVERYWHERE), str(path), fileType="lines", follow=True), first):
        wait_for(lambda: len(first.rows) == 2)
    with path.open("a") as log:
        log.write(lines(2))
    path.rename(old)
    path.write_text(lines(3))
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b").mkdir()
    if not old_is_there:
        old.unlink()
    again = made(file.Source(EVERYWHERE), str(path), fileType="lines", follow=True)
    again.rewind(json.loads(json.dumps(first.offset)))
    want = [2, 3] if old_is_there else [3]
    with running(again, second):
        wait_for(lambda: len(second.rows) == len(want))
    assert [row["k"] for row in second.rows] == want


@pytest.mark.parametrize("packed", [True, False])
def test_what_came_behind_a_file_that_is_gone_at_once_is_read(tmp_path: Path, packed: bool) -> None:
    path, old = tmp_path / "app.log", tmp_path / "app.log.1"
    path.write_text(lines(0))

    class Rotating(Stream):
        def emit_many(self, *what: Any, **more: Any) -> bool:
            went = super().emit_many(*what, **more)
            if len(self.rows) == 1:  # twice, before the next look
                path.rename(old)
                if packed:
                    (tmp_path / "app.log.2.gz").write_bytes(gzip.compress(old.read_bytes()))
                old.unlink()
                path.write_text(lines(1))
                path.rename(old)
                path.write_text(lines(2))
            return went

    stream = Rotating()
    with running(made(file.Source(EVERYWHERE), str(path), fileType="lines", follow=True), stream):
        wait_for(lambda: len(stream.rows) == 3)
    assert [row["k"] for row in stream.rows] == [0, 1, 2]


def test_another_log_beside_it_is_not_taken_for_what_came_between(tmp_path: Path) -> None:
    path, other = tmp_path / "box", tmp_path / "box_2"
    path.write_text(lines(0))
    stream = Stream()
    with running(made(file.Source(EVERYWHERE), str(path), fileType="lines", follow=True), stream):
        wait_for(lambda: len(stream.rows) == 1)
        other.write_text(lines(90, 91))
        path.rename(tmp_path / "box.1")
        path.write_text(lines(1))
        wait_for(lambda: len(stream.rows) == 2)
    assert [row["k"] for row in stream.rows] == [0, 1]


def test_file_that_has_fewer_lines_than_were_taken_is_another_one(tmp_path: Path) -> None:
    path, stream = tmp_path / "log.jsonl", Stream()
    path.write_text(lines(7))
    source = made(file.Source(EVERYWHERE), str(path), fileType="lines", follow=True)
    source.rewind(["log.jsonl", 5])
    with running(source, stream):
        wait_for(lambda: stream.rows)
    assert stream.rows == [{"k": 7}]


def followed(path: Path, offset: Any, count: int, stream: Stream | None = None) -> Stream:
    """What a source gives that goes on behind `offset`: `count` rows, one in each call."""
    source = made(file.Source(EVERYWHERE), str(path), fileType="lines", follow=True, sendInterval=1)
    stream = stream or Stream()
    if offset is not None:
        source.rewind(json.loads(json.dumps(offset)))
    with running(source, stream):
        wait_for(lambda: len(stream.rows) >= count)
    assert len(stream.rows) == count
    return stream


def numbers(stream: Stream) -> list[int]:
    return [row["k"] for row in stream.rows]


@pytest.mark.parametrize("head", [0, 2])
def test_a_file_that_was_cut_and_is_longer_again_is_read_from_its_start(tmp_path: Path, head: int) -> None:
    path, source = tmp_path / "log.jsonl", file.Source(EVERYWHERE)
    properties = {"fileType": "lines", "follow": True, "ignoreStartLines": head, "sendInterval": 1}
    path.write_text("#\n" * head + lines(0, 1))
    stream = Stream()
    with running(made(source, str(path), **properties), stream):
        wait_for(lambda: len(stream.rows) == 2)
    path.write_text("#\n" * head + lines(*range(10, 300)))
    again, rest = made(file.Source(EVERYWHERE), str(path), **properties), Stream()
    again.rewind(stream.offset)
    with running(again, rest):
        wait_for(lambda: len(rest.rows) == 290)
    assert numbers(rest) == list(range(10, 300)) and not rest.errors


def test_a_file_that_is_cut_and_longer_again_between_two_looks_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(lines(0, 1))

    class Slow(Stream):
        def wait(self, seconds: float) -> bool:
            if len(self.rows) == 2:
                path.write_text(lines(*range(10, 300)))
            return super().wait(seconds)

    stream = Slow()
    with running(made(file.Source(EVERYWHERE), str(path), fileType="lines", follow=True), stream):
        wait_for(lambda: len(stream.rows) == 292)
    assert numbers(stream) == [0, 1, *range(10, 300)] and not stream.errors


def test_offsets_of_former_versions_are_good(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(lines(0, 1, 2))
    assert numbers(followed(path, ["log.jsonl", 1], 2)) == [1, 2]
    offset = ["log.jsonl", 2, path.stat().st_ino]
    assert numbers(followed(path, offset, 1)) == [2]
    path.rename(tmp_path / "log.jsonl.1")
    path.write_text(lines(3))
    assert numbers(followed(path, offset, 2)) == [2, 3]


def rotate(path: Path) -> None:
    """As logrotate does: `.1` is the newest."""
    there = sorted(path.parent.glob(f"{path.name}.?"), reverse=True)
    for each in there:
        each.rename(each.with_suffix(f".{int(each.suffix[1:]) + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))


def rotate_by_date(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}-{20240101 + len(list(path.parent.iterdir()))}"))


@pytest.mark.parametrize("turn", [rotate, rotate_by_date])
@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
def test_files_between_two_rotations_come_in_their_order(
    tmp_path: Path, turn: Callable[[Path], None], begun: bool, at_once: bool
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(lines(0))
    turn(path)
    path.write_text(lines(1, 2))
    first = followed(path, None, 2)
    for k in (3, 4, 5):
        with path.open("a") as log:
            log.write(lines(k * 10, k * 10 + 1))
        turn(path)
    path.write_text(lines(60) if begun else "")
    for name in ("log.jsonl.swp", "log.jsonl.1.bak", "log.jsonl1", "other.jsonl.1"):
        (tmp_path / name).write_text(lines(99))
    if at_once:
        for each in tmp_path.iterdir():
            os.utime(each, ns=(10**18, 10**18))
    want = [30, 31, 40, 41, 50, 51, *([60] if begun else [])]
    rest = followed(path, first.offset, len(want))
    assert numbers(rest) == want and not rest.errors
    for taken, offset in enumerate(rest.offsets[:-1], 1):
        assert numbers(followed(path, offset, len(want) - taken)) == want[taken:]


def test_files_that_were_rotated_while_the_queue_was_full_come_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(lines(0))

    class Full(Stream):
        def emit_many(self, *args: Any, **options: Any) -> bool:
            went = super().emit_many(*args, **options)
            if numbers(self) == [0]:
                for k in (1, 2, 3):
                    rotate(path)
                    path.write_text(lines(k))
            return went

    assert numbers(followed(path, None, 4, Full())) == [0, 1, 2, 3]


def test_a_packed_file_between_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(lines(0))
    first = followed(path, None, 1)
    rotate(path)
    path.write_text(lines(1))
    rotate(path)
    packed = tmp_path / "log.jsonl.1.gz"
    packed.write_bytes(gzip.compress((tmp_path / "log.jsonl.1").read_bytes()))
    (tmp_path / "log.jsonl.1").unlink()
    path.write_text(lines(2))
    rest = followed(path, first.offset, 1)
    assert numbers(rest) == [2]
    assert len(rest.errors) == 1 and str(packed) in rest.errors[0]


def test_that_the_file_that_was_read_is_gone_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(lines(0))
    offset = followed(path, None, 1).offset
    (tmp_path / "new").write_text(lines(1))
    (tmp_path / "new").replace(path)
    rest = followed(path, offset, 1)
    assert numbers(rest) == [1] and len(rest.errors) == 1 and "is not in its folder" in rest.errors[0]


STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 4)),
    st.tuples(st.sampled_from(["rotate", "cut", "break"]), st.just(0)),
    st.tuples(st.just("read"), st.integers(1, 6)),
)


@settings(max_examples=60, deadline=None)
@example([("write", 3), ("read", 2), ("rotate", 0), ("write", 2), ("rotate", 0), ("read", 3)], 1)
@example([("write", 1), ("read", 1), ("cut", 0), ("write", 2), ("rotate", 0), ("write", 1)], 0)
@given(st.lists(STEPS, max_size=14), st.integers(0, 3))
def test_each_line_of_a_log_comes_once_whatever_happens_to_it_while_nobody_reads(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], late: int
) -> None:
    """Reading ends as by kill -9: what came behind the last acknowledged offset is read again."""
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    path.write_text(lines(0))
    now: list[int | None] = [0]  # the lines of `path`; None: one that cannot be read
    lost: set[int] = set()
    got, last = [0], 1
    offset = followed(path, None, 1).offset
    for step, count in [*steps, ("write", 1), ("read all", 1_000)]:
        if step in ("write", "break"):
            new = [None] if step == "break" else list(range(last, last + count))
            last += count
            now += new
            with path.open("a") as log:
                log.write("".join("?\n" if k is None else lines(k) for k in new))
        elif step == "rotate":
            rotate(path)
            path.touch()
            now = []
        elif step == "cut":
            os.truncate(path, 0)
            lost |= {k for k in now if k is not None and k not in got}
            now = []
        else:
            count = min(count, last - len(lost) - len(got))
            stream = followed(path, offset, count, Stream(limit=count or 1 << 30))
            taken = max(0, count - late * (step == "read"))
            got += numbers(stream)[:taken]
            offset = stream.offsets[taken - 1] if taken else offset
    assert got == [k for k in range(last) if k not in lost]


def test_a_file_that_is_missing_is_reported_and_waited_for(tmp_path: Path) -> None:
    stream = Stream()
    with running(made(file.Source(EVERYWHERE), str(tmp_path / "later.json")), stream):
        wait_for(lambda: stream.up is False)
        (tmp_path / "later.json").write_text('{"k":1}')
        wait_for(lambda: stream.rows)
    assert "later.json" in stream.errors[0]


def test_a_file_name_cannot_leave_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"write a path without '\.\.'"):
        file.Source(EVERYWHERE).configure("../secret", {"path": str(tmp_path)})
