"""How many settings there are, over the configurations of gateway, cloud and rules."""

from collections.abc import Iterator

import pytest
from contract_snapshot import CONFIGURATIONS, _load

from opq_proto.config.fields import fields_of, item_of, table_of
from opq_proto.config.reading import build
from opq_proto.errors import ConfigError

MOST = 220
"""A section that several tables have counts once, because it is read once."""


def settings(section: type) -> Iterator[str]:
    """`Section.key` of each value, in this section and those below; an inherited one is of the base class."""
    for name, field in fields_of(section).items():
        inner = table_of(field.annotation) or item_of(field.annotation)
        if inner is not None:
            yield from settings(inner)
        else:
            owner = next(each for each in reversed(section.__mro__) if name in fields_here(each))
            yield f"{owner.__module__}.{owner.__name__}.{name}"


def fields_here(section: type) -> dict[str, object]:
    return getattr(section, "__dataclass_fields__", {})


def test_there_are_not_more_settings_than_agreed() -> None:
    found = [key for place in CONFIGURATIONS.values() for key in settings(_load(place))]
    assert any(key.endswith("PluginRules.call_s") for key in found)
    once = sorted(set(found))
    assert len(once) < len(found), "sections are shared"
    assert len(once) <= MOST, f"{len(once)} settings:\n" + "\n".join(once)


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
