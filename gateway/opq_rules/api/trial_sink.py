"""What a trial's sink would be given: its emissions as `sinkProps` shape them.

Source: reference/rules.md, A.5 and E.3.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from opq_rules.delivery.properties import SinkProperties, divided
from opq_rules.delivery.transform import transformer
from opq_rules.errors import CONFIGURATION, RuleError

TAKEN = ("sendSingle", "omitIfEmpty", "dataTemplate", "dataField", "fields")


def shape_of(sink_props: Mapping[str, Any]) -> SinkProperties:
    """Raises RuleError: what does not shape rows, or cannot be."""
    if other := [key for key in sink_props if key not in TAKEN]:
        raise RuleError(f"sinkProps: {', '.join(other)[:200]}; a trial has {', '.join(TAKEN)}", CONFIGURATION)
    try:
        shape, _ = divided(sink_props)
        transformer(shape)
    except ValueError as error:
        raise RuleError(f"sinkProps: {error}", CONFIGURATION) from error
    return shape


def shaped(emissions: list[Any], shape: SinkProperties) -> Iterator[Any]:
    """JSON, or the text of a template that writes something else. A row that fails is told as an error."""
    transform = transformer(shape)
    for emission in emissions:
        for data in emission if shape.sendSingle else [emission] if emission or not shape.omitIfEmpty else []:
            try:
                made = transform(data)
            except Exception as error:  # of a template, whatever it raises
                made = {"error": f"{type(error).__name__}: {error}"}
            yield _read(made) if isinstance(made, str) else made


def _read(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
