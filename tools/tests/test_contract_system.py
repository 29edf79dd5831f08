"""What a whole running system answers is as it was: `test_house_contracts.py` has the rest."""

from pathlib import Path

import pytest
from contract_snapshot import GOLDEN, system_text

pytestmark = pytest.mark.timeout(600)


def test_what_a_running_system_answers_is_as_it_was(tmp_path: Path) -> None:
    """More may be there: some counters appear with the first minute that is over, or the first fault."""
    golden = (GOLDEN / "answers/system.txt").read_text(encoding="utf-8").splitlines()
    found = set(system_text(tmp_path).splitlines())
    assert [line for line in golden if line not in found] == []
