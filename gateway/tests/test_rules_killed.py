"""Killed at random points: with qos 1 and 2 nothing is lost and nothing doubled. All parts are real."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import rules_killed
from waiting import wait_for

CHILD = Path(rules_killed.__file__)
Rows = list[tuple[Any, ...]]


def record(n: int, draw: random.Random) -> dict[str, int]:
    """Event time rises by 37 ms a record."""
    return {"n": n, "v": draw.randrange(100), "t": 1_700_000_000_000 + 37 * n}


def expected(records: list[dict[str, int]]) -> dict[str, Rows]:
    """What each rule has to give, found without the engine."""
    windows: dict[int, list[int]] = defaultdict(list)
    for each in records:
        windows[each["t"] // 1000 * 1000].append(each["n"])
    last_ms = records[-1]["t"]
    done = {began: ns for began, ns in windows.items() if began + 1000 <= last_ms}
    sevens = [records[k : k + 7] for k in range(0, len(records) - 6, 7)]
    changes = [
        (each["n"], records[k - 1]["n"] if k else None) for k, each in enumerate(records) if each["v"] > 60
    ]
    return {
        "plain": [(each["n"], each["v"]) for each in records if each["v"] > 50],
        "shared": [(each["n"], each["v"]) for each in records if each["v"] > 70],
        "shared_too": [(each["n"], each["v"]) for each in records if each["v"] > 75],
        "counted": [(7, sum(each["n"] for each in seven)) for seven in sevens],
        "timed": [(began, len(ns), sum(ns)) for began, ns in sorted(done.items())],
        "changes": changes,
    }


def tables(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    columns = {
        "plain": "n, v",
        "shared": "n, v",
        "shared_too": "n, v",
        "counted": "c, s",
        "timed": "began, c, s",
        "changes": "n, before",
    }
    for name, each in columns.items():
        database.execute(f"CREATE TABLE {name} ({each})")
    database.commit()
    database.close()


def rows(path: Path, name: str) -> Rows:
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return database.execute(f"SELECT * FROM {name} ORDER BY rowid").fetchall()
    finally:
        database.close()


def begun(folder: Path) -> "subprocess.Popen[str]":
    with (folder / "stderr").open("a") as errors:
        child = subprocess.Popen(
            [sys.executable, str(CHILD), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert child.stdout is not None
    said = child.stdout.readline()
    assert said == "ready\n", said + (folder / "stderr").read_text()[-3000:]
    return child


def wait_for_rest(folder: Path, wanted: dict[str, Rows]) -> None:
    """Until all has come; what is left may take its time as long as something comes."""

    def left() -> dict[str, int]:
        return {name: len(each) - len(rows(folder / "rows.sqlite3", name)) for name, each in wanted.items()}

    now = left()
    while any(count > 0 for count in now.values()):
        before = now
        try:
            wait_for(lambda before=before: left() != before)
        except AssertionError:
            errors = (folder / "stderr").read_text()[-3000:]
            raise AssertionError(f"nothing comes any more, left are {before}\n{errors}") from None
        now = left()


def killed_often(folder: Path, kills: int, seed: int) -> None:
    print(f"seed {seed}, {kills} kills")
    draw = random.Random(seed)
    tables(folder / "rows.sqlite3")
    records: list[dict[str, int]] = []
    with (folder / "numbers.jsonl").open("a") as file:

        def write(count: int) -> None:
            new = [record(len(records) + k, draw) for k in range(count)]
            file.write("".join(json.dumps(each) + "\n" for each in new))
            file.flush()
            records.extend(new)

        for _ in range(kills):
            write(draw.randrange(200))
            child = begun(folder)
            try:
                until_s = time.monotonic() + draw.random() * 0.4
                while time.monotonic() < until_s:
                    write(draw.randrange(20))
                    time.sleep(draw.random() * 0.03)
            finally:
                os.kill(child.pid, signal.SIGKILL)
                child.communicate()
        write(60)
    wanted = expected(records)
    child = begun(folder)
    try:
        wait_for_rest(folder, wanted)
    finally:
        last, _ = child.communicate("", timeout=240)
    assert json.loads(last) == {"late": []}
    for name, each in wanted.items():
        assert rows(folder / "rows.sqlite3", name) == each, name
    journal: dict[str, Any] = {}
    sent = 0
    for line in (folder / "journal.jsonl").read_text().splitlines():
        each = json.loads(line)
        assert journal.setdefault(each["id"], each["rows"]) == each["rows"], "one id, two contents"
        sent += 1
    assert len(journal) == sum(len(each) for each in wanted.values())
    again = sent - len(journal)
    print(f"{len(records)} records, {len(journal)} emissions, {again} sent again under their id")


def longest(kills: int) -> pytest.MarkDecorator:
    """Five kills took 56 s on a busy machine; five times that, and the wait for the rest."""
    return pytest.mark.timeout(300 + 60 * kills)


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(5, marks=longest(5)),
        pytest.param(20, marks=[pytest.mark.slow, longest(20)]),
        pytest.param(200, marks=[pytest.mark.soak, longest(200)]),
    ],
)
def test_kills_lose_and_double_nothing(tmp_path: Path, kills: int) -> None:
    killed_often(tmp_path, kills, 4 if kills == 5 else random.randrange(1 << 32))
