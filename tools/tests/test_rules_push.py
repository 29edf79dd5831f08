"""`opq-tools rules push`: one set to several engines, one of which takes nothing."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from command_in_process import run_in_process
from free_ports import free_port

from opq_rules.api.rules_config import Config
from opq_rules.api.rules_service import RulesService

TOKEN = "t" * 43
STREAM = 'CREATE STREAM boxes () WITH (TYPE="memory", DATASOURCE="boxes", SHARED="true")'


def rule(number: int, version: str = "1", limit: int = 100) -> str:
    body = {
        "id": f"r{number}",
        "version": version,
        "sql": f"SELECT box FROM boxes WHERE rms < {limit + number}",
    }
    return json.dumps({**body, "actions": [{"nop": {}}]})


def set_of(rules: dict[str, str]) -> str:
    return json.dumps({"streams": {"boxes": STREAM}, "tables": {}, "rules": rules})


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[RulesService]]:
    """Six engines that know one token."""
    sums = tmp_path / "sums"
    sums.write_text(hashlib.sha256(TOKEN.encode()).hexdigest() + "\n")
    with ExitStack() as running:
        made = []
        for k in range(6):
            config = Config(data_dir=tmp_path / f"engine{k}", endpoint="127.0.0.1:0", token_file=sums)
            made.append(RulesService(config))
            made[-1].start()
            running.callback(made[-1].stop)
        for each in made:
            each.engine.ready.wait()
        yield made


def test_a_push_names_the_dead_engine(engines: list[RulesService], tmp_path: Path) -> None:
    file, token = tmp_path / "set.json", tmp_path / "token"
    token.write_text(TOKEN + "\n")
    hosts = [f"127.0.0.1:{each.port}" for each in engines]
    rules = {f"r{k}": rule(k) for k in range(8)}

    def push(*to: str) -> tuple[int, list[str]]:
        file.write_text(set_of(rules))
        asked = [word for host in to for word in ("--to", host)]
        done = run_in_process("rules", "push", str(file), *asked, "--token-file", str(token))
        return done.returncode, done.stdout.splitlines()

    made = "made: streams boxes; rules r0, r1, r2, r3, r4 and 3 more"
    assert push(*hosts) == (0, [f"{host}: {made}" for host in hosts])
    rules["r3"] = rule(3, "2", 90)
    dead = f"127.0.0.1:{free_port()}"
    code, lines = push(*hosts, dead)
    assert code == 1 and "no rule engine answers" in lines[-1]
    left = "left, it is the same: boxes, r0, r1, r2, r4 and 3 more"
    assert lines[:-1] == [f"{host}: replaced: rules r3; {left}" for host in hosts]
    for each in engines:
        assert each.engine.views.rule("r3")["sql"].endswith("rms < 93")
        assert {one["status"] for one in each.engine.views.rules()} == {"running"}
    rules["r5"] = rule(5, "0", 80)
    rules["r9"] = rule(9).replace("rms", "(rms")
    code, lines = push(*hosts)
    assert code == 1 and all("nothing was imported" in line for line in lines)
    del rules["r9"]
    assert all("left, version 0 is older than 1: r5" in line for line in push(*hosts)[1])
