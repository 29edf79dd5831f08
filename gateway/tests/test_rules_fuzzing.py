"""Coverage-guided fuzzing of what strangers send: SQL, its shape, payloads. With -m soak and atheris."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from opq_rules.sql.cursor import NOT_OURS
from opq_rules.sql.expression import WINDOWS
from opq_rules.sql.tokens import RESERVED
from opq_rules.streams.options import OPTIONS

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


@pytest.mark.soak
def test_atheris_finds_no_text_and_no_payload_that_breaks_the_readers(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed: pip install atheris")
    words = [
        *SIGNS,
        *RESERVED,
        *WINDOWS,
        *OPTIONS,
        *(word for word in NOT_OURS if re.fullmatch(r"\w+", word)),
    ]
    dictionary = tmp_path / "words"
    dictionary.write_text("".join(f'"{word}"\n' for word in words))
    target = Path(__file__).parent / "fuzz_rules_sql.py"
    arguments = [
        f"-max_total_time={SECONDS}",
        f"-dict={dictionary}",
        "-max_len=400",
        f"-artifact_prefix={tmp_path}/",
    ]
    done = subprocess.run(
        [sys.executable, str(target), *arguments], capture_output=True, check=False, timeout=SECONDS + 50
    )
    assert done.returncode == 0, done.stderr[-3000:].decode(errors="replace")
