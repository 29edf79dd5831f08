"""Lists of a Measurement's fields and metrics equal what `opq_proto.measurement.fields` says."""

import json
from dataclasses import MISSING, fields

import numpy as np

from opq_cloud.store.mongo import mongo_store
from opq_cloud.view.api import shapes
from opq_cloud.view.live.feed_messages import newest_json
from opq_measure.harmonics.spectrum import ORDERS
from opq_proto.measurement import continuity, supply_word
from opq_proto.measurement.fields import (
    BY_KEY,
    DRAWN,
    DRAWN_KEYS,
    FIELDS,
    HARMONICS,
    LAST_HARMONIC,
    METRICS_WIRE,
    ORIGINAL_FIELDS,
    QUANTITIES,
    REMARKS,
    USUAL,
    remarks_about,
)
from opq_proto.measurement.measurement_json import (
    EXPORTED,
    FIGURES_TEXT,
    figures_json,
    figures_values,
    measurement_json,
)
from opq_proto.measurement.own_channels import CHANNELS
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.trend_histogram import HISTOGRAM_METRICS
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement
from opq_rules.streams.measurement_row import row_of

FULL = Measurement(
    "7",
    1_765_792_486_013,
    {each.key: Metric(1.0, 3.0, 2.0) for each in QUANTITIES},
    1_765_792_485_013_000_000,
    1_765_792_486_013_000_000,
    1000,
    TimeSource.GPS,
    12,
    3,
    True,
    True,
    120.0,
    60.0,
    5,
    6,
    7,
    8,
    9,
)
SHOWN = [each.shown for each in QUANTITIES if each.shown]


def test_fields_are_those_of_the_noun() -> None:
    known = [each for each in fields(Measurement) if each.name != "metrics"]
    assert [each.name for each in known] == [each.name for each in FIELDS]
    for ours, of_noun in zip(FIELDS, known, strict=True):
        if of_noun.default is not MISSING:
            assert ours.unknown == of_noun.default, ours.name


def test_fields_are_those_of_the_wire() -> None:
    wire = {each.number: each.name for each in WireMeasurement.DESCRIPTOR.fields}
    assert wire == {METRICS_WIRE: "metrics", **{each.wire: each.stored_name for each in FIELDS}}


def test_fields_have_each_place_once() -> None:
    assert [each.exported for each in EXPORTED] == list(range(1, len(EXPORTED) + 1))
    columns = [each.column for each in FIELDS if each.column]
    assert len(set(columns)) == len(columns)
    assert len({each.wire for each in FIELDS}) == len(FIELDS)
    for each in FIELDS:
        assert each.words and (not each.dtype or np.dtype(each.dtype))


def test_quantities_have_each_name_once() -> None:
    for names in (
        [each.key for each in (*QUANTITIES, *REMARKS)] + list(HARMONICS),
        [each.value for each in QUANTITIES if each.value],
        [name for each in SHOWN for name in (each.name, *(each.limits or ()))],
        [each.mqtt.key for each in QUANTITIES if each.mqtt],
        [each.series for each in SHOWN if each.series is not None],
    ):
        assert len(set(names)) == len(names)


def test_last_harmonic_and_histograms() -> None:
    assert LAST_HARMONIC == ORDERS
    assert HISTOGRAM_METRICS == USUAL, "the stored form of a trend"


def test_remarks_are_those_of_continuity_and_supplies() -> None:
    known = {continuity.CLOCK_SET, continuity.DARK_AFTER, continuity.FLAGGED}
    assert remarks_about("continuity") == known | {reason.metric for reason in continuity.GapReason}
    assert remarks_about("supply") == {supply_word.SUPPLY, supply_word.BATTERY, supply_word.GATEWAY}
    assert remarks_about("restart", "former") == {continuity.RESTART, continuity.FORMER_MISSING}


def test_a_row_of_rules_has_each_column() -> None:
    columns = {each.column for each in FIELDS if each.column}
    assert set(row_of(FULL)) == {
        *columns,
        "kind",
        *(f"{name}{end}" for name in BY_KEY for end in ("", "_min", "_max")),
    }


def test_columns_of_exports() -> None:
    assert list(measurement_json(FULL)) == [*(each.name for each in EXPORTED), "metrics"]
    assert list(shapes.MEASUREMENT) == [
        *(each.name for each in EXPORTED if each.name not in ("start_id", "nominal_v")),
        "metrics",
    ]


def test_figures_of_view() -> None:
    assert set(newest_json(FULL)) == set(shapes.NEWEST)
    assert list(DRAWN_KEYS) == [each.name for each in DRAWN] == list(shapes.TrendRowShape.model_fields)[3:]


def test_text_of_figures_is_their_json() -> None:
    metrics = {each.key: Metric(1.25, 3.5, 2.125) for each in QUANTITIES}
    for known in (metrics, {key: metrics[key] for key in USUAL}):
        text = FIGURES_TEXT % tuple(figures_values(known))
        assert json.loads(f"{{{text}}}") == figures_json(known)
    assert not figures_values(metrics | {"f": Metric(1.0, 1.0, float("inf"))})
    assert not figures_values(metrics | {"rms": Metric(float("nan"), 1.0, 1.0)})
    assert not figures_values({key: metrics[key] for key in USUAL[1:]})


def test_figures_have_only_channels() -> None:
    usual = {key: Metric(1.25, 3.5, 2.125) for key in USUAL}
    foreign = dict.fromkeys(('own_"><script>', "own_", "own_A_v", "own_oil_c_min"), usual["rms"])
    assert figures_json(usual | foreign) == figures_json(usual) and figures_values(usual | foreign)
    many = {f"own_n{number}_v": usual["rms"] for number in range(451)}
    assert len(figures_json(usual | foreign | many)) == len(figures_json(usual)) + CHANNELS


def test_documents_of_mongodb() -> None:
    document = mongo_store._document(FULL, mongo_store.Int64(0))
    known = {each.wire_name or each.name for each in FIELDS if each.stored}
    of_metrics = {"metrics", *ORIGINAL_FIELDS.values()}
    assert set(document) - of_metrics - {"_id", "expire_at"} | {"box_id"} == known
