"""What is said of the settings of gateway, cloud and rules."""

from collections.abc import Iterator

from contract_snapshot import CONFIGURATIONS, _load

from opq_proto.config.fields import fields_of, item_of, table_of


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
