"""What a whole running system answers is as it was: `test_house_contracts.py` has the rest."""

from pathlib import Path

import pytest
from contract_snapshot import system_text
from test_house_contracts import assert_unchanged

pytestmark = pytest.mark.timeout(600)


def test_what_a_running_system_answers_is_as_it_was(tmp_path: Path) -> None:
    assert_unchanged("answers/system.txt", system_text(tmp_path))
