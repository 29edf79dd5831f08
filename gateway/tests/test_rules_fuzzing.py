"""Coverage-guided fuzzing of what strangers send: SQL, payloads, requests, zips. With -m soak, atheris."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from plugin_zips import plugin_zip

from opq_rules.sql.cursor import NOT_OURS
from opq_rules.sql.expression import WINDOWS
from opq_rules.sql.tokens import RESERVED
from opq_rules.streams.definition import OPTIONS

SECONDS = 60
SIGNS = [
    "->",
    "<=",
    ">=",
    "!=",
    "/*",
    "*/",
    "--",
    "`",
    "'",
    "\\\\",
    "AS ",
    "INVISIBLE",
    "EXCEPT(",
    "FILTER(WHERE ",
]
OF_REQUESTS = [
    *("id", "sql", "actions", "options", "tags", "keys", "name", "file", "content", "params", "mockSource"),
    *("{{", "}}", "range", "end", "|", "json", "1e999", "99999999999999999999", "[[[[[[[[", "%2e%2e", "//"),
]
OF_ZIPS = [
    "plugin.json",
    "../",
    "sinks/m.py",
    "sinks/m.json",
    "wheels/a.whl",
    "install.sh",
    "name",
    "symbols",
]
MADE, RAW = 255, 0
SEEDS = {
    "fuzz_rules_rest.py": [
        bytes((at, form, 0)) + b'{"sql": "SELECT * FROM demo"}' for at in range(40) for form in (0, 1)
    ],
    "fuzz_plugin_zip.py": [
        *(bytes([RAW]) + plugin_zip("m", kind=kind) for kind in ("sink", "source", "function")),
        bytes([MADE, 1]) + b"sinks/m.py\0x = 1\0../../x\0y\0sinks/m.json\0{}\0wheels/a.whl\0PK\0",
        bytes([MADE, 0]) + b'plugin.json\0{"name":"m","version":"1.0.0","kind":"sink"}\0lib/../x\0y\0',
    ],
}


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("harness", "words"),
    [
        (
            "fuzz_rules_sql.py",
            [
                *SIGNS,
                *RESERVED,
                *WINDOWS,
                *OPTIONS,
                *(word for word in NOT_OURS if re.fullmatch(r"\w+", word)),
            ],
        ),
        ("fuzz_rules_rest.py", [*OF_REQUESTS, *RESERVED, *OPTIONS]),
        ("fuzz_plugin_zip.py", OF_ZIPS),
    ],
)
def test_atheris_finds_nothing_that_breaks_the_readers(
    harness: str, words: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed: pip install atheris")
    dictionary, corpus = tmp_path / "words", tmp_path / "corpus"
    dictionary.write_text("".join(f'"{word}"\n' for word in words))
    corpus.mkdir()
    for number, seed in enumerate(SEEDS.get(harness, [])):
        (corpus / str(number)).write_bytes(seed)
    arguments = [
        f"-max_total_time={SECONDS}",
        f"-dict={dictionary}",
        "-max_len=2000" if harness in SEEDS else "-max_len=400",
        "-timeout=300",
        f"-artifact_prefix={tmp_path}/",
        str(corpus),
    ]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / harness), *arguments],
        capture_output=True,
        check=False,
        timeout=SECONDS + 200,
    )
    assert done.returncode == 0, done.stderr[-3000:].decode(errors="replace")
