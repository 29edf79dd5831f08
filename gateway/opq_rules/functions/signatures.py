"""Which kinds the functions take and return, for the planner, which refuses what no record could compute.

The kinds of an argument are all those of which some value is accepted: length(3) is 1, so length takes
anything, and null does not clash. The types of functions that are not listed are unknown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from opq_rules.sql.syntax import Expression, Literal
from opq_rules.values import types
from opq_rules.values.types import (
    ARRAY,
    BIGINT,
    BOOLEAN,
    BYTEA,
    DATETIME,
    FLOAT,
    NUMBER,
    STRING,
    STRUCT,
    UNKNOWN_TYPE,
    ValueType,
    array_of,
    joined,
)

Kinds = frozenset[str]
Give = Callable[[Sequence[ValueType], Sequence[Expression]], ValueType]
"""Returns the type of the result, from the types of the accepted arguments and the arguments themselves."""

_TEXT = frozenset({"string", "boolean", "bigint", "float", "datetime", "bytea"})
"""The kinds that `arguments.text` can write as text."""
_KINDS: dict[str, tuple[Kinds, str]] = {
    "any": (UNKNOWN_TYPE.kinds, "anything"),
    "prefix": (UNKNOWN_TYPE.kinds, "anything"),
    "number": (NUMBER.kinds, "a number"),
    "whole": (NUMBER.kinds, "a whole number"),
    "text": (_TEXT, "a text"),
    "written": (_TEXT, "a text"),
    "boolean": (BOOLEAN.kinds, "a condition"),
    "array": (ARRAY.kinds, "an array"),
    "struct": (STRUCT.kinds, "an object"),
    "bytes": (BYTEA.kinds | STRING.kinds, "bytes or a text"),
    "time": (NUMBER.kinds | DATETIME.kinds | STRING.kinds, "a time"),
    "character": (NUMBER.kinds | STRING.kinds, "a number or a character"),
    "listed": (_TEXT | ARRAY.kinds, "a text or an array"),
    "nested": (ARRAY.kinds | STRUCT.kinds, "an array or an object"),
    "json": (ARRAY.kinds | STRUCT.kinds | BYTEA.kinds | STRING.kinds, "an array, an object or a JSON text"),
    "samples": (NUMBER.kinds | ARRAY.kinds, "a number or an array"),
    "ranked": (_TEXT - BOOLEAN.kinds, "what compares"),
}
_CONSTANTS: dict[str, tuple[Kinds, str]] = {
    "number": _KINDS["number"],
    "whole": (BIGINT.kinds, "a whole number"),
    "text": (STRING.kinds, "a text"),
    "prefix": (STRING.kinds, "a text"),
    "boolean": (BOOLEAN.kinds, "true or false"),
    "array": _KINDS["array"],
}
"""What a constant has to be: lower(5) is a mistake, though a column's 5 is taken as its text.

Constants of the other words may be anything: numbytes(5), which takes what is `written`, is 1.
"""


@dataclass(frozen=True, slots=True)
class Signature:
    """`takes`: a word of `_KINDS` per argument; the last one applies to all that follow."""

    takes: tuple[str, ...]
    gives: ValueType | Give

    def wants(self, place: int) -> tuple[Kinds, str]:
        """The kinds that the argument at `place` (from 0) may have, and their description in words."""
        return _KINDS[self._word(place)]

    def wants_constant(self, place: int) -> tuple[Kinds, str] | None:
        """The same for a constant; None: anything."""
        return _CONSTANTS.get(self._word(place))

    def _word(self, place: int) -> str:
        return self.takes[min(place, len(self.takes) - 1)] if self.takes else "any"

    def answer(self, given: Sequence[ValueType], arguments: Sequence[Expression]) -> ValueType:
        if isinstance(self.gives, ValueType):
            return self.gives
        return self.gives([each.narrowed(self.wants(k)[0]) for k, each in enumerate(given)], arguments)


def signature(name: str, count: int) -> Signature | None:
    """The signature of our function of this name with `count` arguments; None: nothing is known."""
    table = _table()
    return table.get(f"{name}/{count}", table.get(name)) if name.startswith("acc_") else table.get(name)


def _same(given: Sequence[ValueType], arguments: Sequence[Expression]) -> ValueType:
    return given[0]


def _second(given: Sequence[ValueType], arguments: Sequence[Expression]) -> ValueType:
    return given[1]


def _any_of(given: Sequence[ValueType], arguments: Sequence[Expression]) -> ValueType:
    return joined(given)


def _or_default(given: Sequence[ValueType], arguments: Sequence[Expression]) -> ValueType:
    return joined([given[0], *given[2:3]])


def _element(given: Sequence[ValueType], arguments: Sequence[Expression]) -> ValueType:
    return given[0].element if given[0].kinds <= ARRAY.kinds else UNKNOWN_TYPE


def _array(given: Sequence[ValueType], arguments: Sequence[Expression]) -> ValueType:
    return array_of(joined(given))


def _array_of_first(given: Sequence[ValueType], arguments: Sequence[Expression]) -> ValueType:
    return array_of(given[0])


def arithmetic(given: Sequence[ValueType], arguments: Sequence[Expression] = ()) -> ValueType:
    """The type of + - * / %: two bigints give a bigint, a float makes it a float."""
    if any(not each.kinds for each in given):
        return types.NULL
    if all(each.kinds <= BIGINT.kinds for each in given):
        return BIGINT
    return FLOAT if any(each.kinds <= FLOAT.kinds for each in given) else NUMBER


def _running_sum(given: Sequence[ValueType], arguments: Sequence[Expression]) -> ValueType:
    """The type of a running sum; a sum of floats is the bigint 0 as long as there are no values."""
    return BIGINT if given[0].kinds <= BIGINT.kinds else NUMBER


def _concat(given: Sequence[ValueType], arguments: Sequence[Expression]) -> ValueType:
    """The type of concat; null is skipped: arrays give an array or, if all are null, the empty text."""
    return joined([STRING, ARRAY]) if any("array" in each.kinds for each in given) else STRING


def _cast(given: Sequence[ValueType], arguments: Sequence[Expression]) -> ValueType:
    kind = arguments[1]
    return (
        types.BY_NAME.get(str(kind.value).lower(), UNKNOWN_TYPE)
        if isinstance(kind, Literal)
        else UNKNOWN_TYPE
    )


_PHASOR = ValueType(STRUCT.kinds, None, (("magnitude", FLOAT), ("angle", FLOAT)))
_HISTOGRAM = ValueType(
    STRUCT.kinds, None, (("counts", array_of(BIGINT)), ("below", BIGINT), ("above", BIGINT))
)

_TABLE: tuple[tuple[str, str, ValueType | Give], ...] = (
    # mathematics
    (
        "acos asin atan atan2 cos cosh cot degrees exp ln log pow power radians sin sinh sqrt tan tanh",
        "number",
        FLOAT,
    ),
    ("abs ceil ceiling floor", "number", _same),
    ("round", "number whole", _same),
    ("trunc", "number any", _same),
    ("mod", "number", arithmetic),
    ("sign", "number", BIGINT),
    ("bitand bitor bitxor bitnot", "whole", BIGINT),
    ("conv", "any whole", STRING),
    ("pi rand", "", FLOAT),
    # text
    ("concat", "listed", _concat),
    ("endswith startswith regexp_matches", "text", BOOLEAN),
    ("indexof", "listed any", BIGINT),
    ("length", "any", BIGINT),
    ("numbytes", "written", BIGINT),
    ("format", "number whole text", STRING),
    ("lower upper trim ltrim rtrim reverse", "text", STRING),
    ("lpad rpad substring", "text whole", STRING),
    ("regexp_replace regexp_substring regexp_substr", "text", STRING),
    ("split_value", "text text whole", STRING),
    # conversion
    ("cast", "any text", _cast),
    ("chr", "character", STRING),
    ("dec2hex", "whole", STRING),
    ("hex2dec", "text", BIGINT),
    ("encode", "text", STRING),
    ("decode", "text", BYTEA),
    ("compress", "written text", BYTEA),
    ("decompress", "bytes text", BYTEA),
    ("convert_tz", "time text", DATETIME),
    ("to_seconds", "time", BIGINT),
    ("md5 sha1 sha256 sha384 sha512 crc32", "text", STRING),
    # JSON
    ("to_json", "any", STRING),
    ("parse_json", "written", UNKNOWN_TYPE),
    ("json_path_query json_path_query_first", "json text", UNKNOWN_TYPE),
    ("json_path_exists", "json text", BOOLEAN),
    # arrays
    ("cardinality array_cardinality array_position array_last_position", "any", BIGINT),
    ("element_at", "nested written", _element),
    ("array_contains", "array any", BOOLEAN),
    ("array_contains_any", "array any", BOOLEAN),
    ("array_create", "any", _array),
    ("array_remove array_except", "array any", _same),
    ("array_intersect array_distinct array_sort", "array", _same),
    ("array_union", "any", ARRAY),
    ("array_max array_min", "array", _element),
    ("array_flatten array_concat", "array", ARRAY),
    ("array_map", "text array", ARRAY),
    ("array_join", "array written any", STRING),
    ("repeat", "any", _array_of_first),
    ("sequence", "whole", array_of(BIGINT)),
    ("kvpair_array_to_obj zip", "array", STRUCT),
    # objects
    ("keys", "struct", array_of(STRING)),
    ("values", "struct", ARRAY),
    ("object", "array", STRUCT),
    ("object_construct", "any", STRUCT),
    ("object_concat", "struct", STRUCT),
    ("object_pick erase", "struct any", STRUCT),
    ("object_size", "struct", BIGINT),
    ("items", "struct", array_of(ARRAY)),
    ("obj_to_kvpair_array", "struct", array_of(STRUCT)),
    ("extract", "struct", STRUCT),
    ("unnest", "array", ARRAY),
    # dates
    ("now current_timestamp local_time local_timestamp cur_time current_time", "whole", STRING),
    ("cur_date current_date", "", STRING),
    ("tstamp event_time window_start window_end rule_start", "", BIGINT),
    ("format_time date_calc", "time text", STRING),
    ("date_diff", "time", BIGINT),
    ("from_days", "whole", STRING),
    ("from_unix_time", "number", STRING),
    ("last_day day_name month_name", "time", STRING),
    ("day day_of_month day_of_week day_of_year month hour minute second microsecond", "time", BIGINT),
    # other
    ("isnull", "any", BOOLEAN),
    ("coalesce", "any", _any_of),
    ("newuuid rule_id", "", STRING),
    ("meta mqtt", "any", UNKNOWN_TYPE),
    ("get_keyed_state", "any", UNKNOWN_TYPE),
    ("row_number window_trigger", "", BIGINT),
    ("last_hit_count last_hit_time last_agg_hit_count last_agg_hit_time", "", BIGINT),
    # aggregates
    ("count count_distinct", "any", BIGINT),
    ("sum avg", "number", _same),
    ("max min", "ranked", _same),
    ("stddev stddevs var vars median slope", "number", FLOAT),
    ("argmax argmin", "any ranked", _same),
    ("percentile percentile_cont", "number", FLOAT),
    ("percentile_disc", "number", _same),
    ("histogram", "number", _HISTOGRAM),
    ("collect", "any", _array_of_first),
    ("merge_agg", "any", STRUCT),
    ("first_value last_value", "any boolean", _same),
    ("deduplicate", "any boolean", joined([array_of(STRUCT), STRUCT])),
    # analytic; with a begin and a reset, acc_... takes values only in between
    ("lag", "any any any boolean", _or_default),
    ("latest", "any", _any_of),
    ("acc_sum", "number", _running_sum),
    ("acc_sum/3", "any boolean", NUMBER),
    ("acc_avg", "number", FLOAT),
    ("acc_avg/3", "any boolean", FLOAT),
    ("acc_min acc_max", "ranked", _same),
    ("acc_min/3 acc_max/3", "any boolean", _same),
    ("acc_count", "any", BIGINT),
    ("acc_count/3", "any boolean", BIGINT),
    ("consecutive_count", "boolean", BIGINT),
    ("consecutive_start", "boolean any", _second),
    ("changed_col", "boolean any", _second),
    ("had_changed", "boolean any", BOOLEAN),
    ("changed_cols", "prefix boolean any", STRUCT),
    ("change_to", "any", BOOLEAN),
    ("change_capture", "any", _same),
    # power quality
    ("rms", "samples", FLOAT),
    ("thd frequency", "array number", FLOAT),
    ("harmonic", "array whole number", FLOAT),
    ("harmonics", "array number", array_of(FLOAT)),
    ("phasor", "array number", _PHASOR),
    ("pst", "array number", FLOAT),
    ("itic f47", "number", STRING),
    ("sag_depth", "number", FLOAT),
)


@cache
def _table() -> dict[str, Signature]:
    return {
        name: Signature(tuple(takes.split()), gives)
        for names, takes, gives in _TABLE
        for name in names.split()
    }
