"""What is said of the settings of gateway, cloud and rules."""

import re
import runpy
from collections.abc import Iterator

import pytest
from contract_snapshot import CONFIGURATIONS, ROOT, _load
from pydantic.fields import FieldInfo

from opq_proto.config.fields import fields_of, item_of, table_of, why_of

SENTENCE = re.compile(r"[A-Z][a-z]+ [^.;:]*(?:\.\d[^.;:]*|:[^ ][^.;]*)*\.")
"""One sentence; a point or a colon inside belongs to a number, an address or a path."""


def settings(section: type, place: str) -> Iterator[tuple[str, FieldInfo]]:
    """The settings of this section and those below."""
    for name, field in fields_of(section).items():
        inner = table_of(field.annotation) or item_of(field.annotation)
        if inner is not None:
            yield from settings(inner, f"{place}.{name}")
        else:
            yield f"{place}.{name}", field


EVERY = {key: field for kind, place in CONFIGURATIONS.items() for key, field in settings(_load(place), kind)}


def test_each_setting_states_its_meaning() -> None:
    assert [key for key, field in EVERY.items() if len((field.description or "").split()) < 2] == []


def test_each_setting_states_why_one_would_change_it() -> None:
    """In one sentence of its field: `Why` in its `Annotated`."""
    wrong = [key for key, field in EVERY.items() if not SENTENCE.fullmatch(why_of(field))]
    assert len(EVERY) > 200 and wrong == []
    assert [key for key, field in EVERY.items() if len(why_of(field).split()) < 5] == []


@pytest.mark.parametrize("kind", ["gateway", "cloud", "rules"])
def test_the_reference_lists_the_settings_as_they_are(kind: str) -> None:
    made = runpy.run_path(str(ROOT / "tools" / "settings_reference.py"))["page"](kind)
    shown = (ROOT / "docs" / "reference" / f"settings-{kind}.md").read_text(encoding="utf-8")
    assert shown == made, "run python tools/settings_reference.py"
