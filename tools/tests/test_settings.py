"""What is said of the settings of gateway, cloud and rules, and of those that are gone."""

from collections.abc import Iterator

import pytest
from contract_snapshot import CONFIGURATIONS, _load

from opq_proto.config.fields import fields_of, item_of, table_of
from opq_proto.config.reading import build
from opq_proto.errors import ConfigError


def undescribed(section: type, place: str) -> Iterator[str]:
    """Settings of this section and those below that do not say what they are for."""
    for name, field in fields_of(section).items():
        inner = table_of(field.annotation) or item_of(field.annotation)
        if inner is not None:
            yield from undescribed(inner, f"{place}.{name}")
        elif len((field.description or "").split()) < 2:
            yield f"{place}.{name}"


def test_every_setting_says_what_it_is_for() -> None:
    wrong = [key for kind, place in CONFIGURATIONS.items() for key in undescribed(_load(place), kind)]
    assert wrong == []


def removed(section: type) -> Iterator[tuple[type, str, str]]:
    """Each section, a key that it no longer has, and what to do instead."""
    for key, instead in getattr(section, "REMOVED", {}).items():
        yield section, key, instead
    for field in fields_of(section).values():
        inner = table_of(field.annotation) or item_of(field.annotation)
        if inner is not None:
            yield from removed(inner)


def test_a_key_that_is_gone_is_refused_with_what_to_do_instead() -> None:
    gone = [each for place in CONFIGURATIONS.values() for each in removed(_load(place))]
    assert len(gone) > 15
    for section, key, instead in gone:
        with pytest.raises(ConfigError) as refused:
            build(section, {key: 1})
        assert f"was removed; {instead}" in str(refused.value)
