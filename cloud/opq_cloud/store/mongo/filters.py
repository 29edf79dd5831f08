"""MongoDB's filters and projections, from the conditions of `driver.Where`. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from bson import ObjectId

from opq_cloud.store.documents import stored_boxes
from opq_cloud.store.driver import Fields, Key, Table, Where

REVISION = "_revision"
"""Field of our documents that each change raises."""
MANY_VALUES = 20
"""From this many values on, a filter for them states their bounds too."""
TEXTS: Fields = {"$gte": ""}
NUMBERS: Fields = {"$gte": -(2**62)}
"""All texts, and all numbers: a comparison finds only values of its own type."""
_OPERATORS = {"!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}


def filter_of(table: Table, where: Where) -> Fields:
    """Returns the filter of these conditions."""
    every: list[Fields] = []
    for name, operator, value in where:
        field = "_id" if name == table.id_field else name
        if name == "box_id" and table.foreign_boxes and operator in ("=", "in"):
            every.append(of_boxes(value if operator == "in" else [value]))
        elif operator in ("=", "has"):
            every.append({field: value})
        elif operator == "in":
            every.append({field: among(value)})
        elif operator == "has any":
            every.append({field: {"$in": list(value)}})
        elif operator == "not in":
            every.append({field: {"$nin": list(value)}})
        elif operator == "contains":
            every.append({field: {"$regex": re.escape(value)}})
        else:
            every.append({field: {_OPERATORS[operator]: value}})
    return every[0] if len(every) == 1 else {"$and": every} if every else {}


def of_boxes(box_ids: Iterable[str]) -> Fields:
    """Returns the filter of documents, which another program may have written, of these Boxes."""
    texts = list(box_ids)
    numbers = [each for box_id in texts for each in stored_boxes(box_id) if not isinstance(each, str)]
    if len(texts) < MANY_VALUES or not numbers:
        return {"box_id": among([*texts, *numbers])}
    return {"$or": [{"box_id": among(texts)}, {"box_id": among(numbers)}]}


def among(values: Iterable[Any]) -> Fields:
    """Returns the condition that a field has one of these values.

    With many values of one type that has an order it states their bounds first, which changes nothing for an
    index, because FerretDB compares each document of the collection with each value. Numbers without a gap
    need no more.
    """
    listed = list(values)
    types = {int if isinstance(each, int) else type(each) for each in listed}
    if len(listed) < MANY_VALUES or len(types) > 1 or not types <= {int, str, ObjectId}:
        return {"$in": listed}
    lowest, highest = min(listed), max(listed)
    bounds = {"$gte": lowest, "$lte": highest}
    if types == {int} and highest - lowest + 1 == len({*listed}):
        return bounds
    return {**bounds, "$in": listed}


def following(table: Table, query: Fields, sort: Sequence[str], beyond: Key) -> Fields:
    """Returns the filter for the documents after the values `beyond` of the sort fields."""
    if not beyond:
        return query
    less = "$lt" if sort[0].startswith("-") else "$gt"
    names = [each.removeprefix("-") for each in sort]
    fields = ["_id" if name == table.id_field else name for name in names]
    further: list[Fields] = []
    for place, field in enumerate(fields):
        equal = dict(zip(fields[:place], beyond[:place], strict=True))
        further.append({**equal, field: {less: beyond[place]}})
    inclusive = {fields[0]: {f"{less}e": beyond[0]}}  # so that the index of the order is used
    return {"$and": [*([query] if query else []), inclusive, {"$or": further}]}


def needed(table: Table, fields: Sequence[str] = ()) -> Fields | None:
    """Returns the projection: these fields, or all that are read."""
    if fields:
        return {"_id" if name == table.id_field else name: 1 for name in fields}
    hidden = (*table.large, *(() if table.values is None else table.values[:1]))
    return dict.fromkeys(hidden, 0) if hidden else None
