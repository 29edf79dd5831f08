"""The tables of the store, for both drivers; docs/schema.md lists their columns and indexes.

Fields and collections of the original are as in docs/reference/opq-interop.md, part D. The tables of people
are in `accounts/account_records.py`.
"""

from opq_cloud.store.documents.event_documents import file_name
from opq_cloud.store.driver import Table


def _own(*names: str) -> dict[str, str]:
    return {name: name for name in names}


BOXES = Table(
    "opq_boxes",
    ("box_id",),
    columns=_own("box_id"),
    foreign_boxes=True,
    versioned=False,
    remembered=True,
)
LOCATIONS = Table(
    "locations", ("slug",), columns=_own("slug"), identity=lambda one: one["slug"], versioned=False
)
REGIONS = Table(
    "regions",
    ("locationSlug", "regionSlug"),
    columns={"locationSlug": "location", "regionSlug": "region"},
    in_columns=True,
    identity=lambda one: f"{one['regionSlug']}/{one['locationSlug']}",
    versioned=False,
)
RETENTION = Table("laha_config", identity=lambda one: "ttls", versioned=False)
MAKAI_CONFIG = Table("makai_config", versioned=False)
TRIGGER_SETTINGS = Table("opq_trigger_settings", versioned=False)
"""Of MongoDB alone; the embedded store has them in `makai_config`, which no other program writes there."""
REMOVALS = Table("opq_removals", ("removal",), id_field="removal", versioned=False)
"""Removals that have begun, of MongoDB alone; see `records/removals.py`."""
DUE = Table(
    "rollups_due",
    ("length_ms", "start_ms", "box_id"),
    "opq_rollups_due",
    columns=_own("length_ms", "start_ms", "box_id"),
    in_columns=True,
    identity=lambda one: f"{one['box_id']}/{one['length_ms']}/{one['start_ms']}",
    versioned=False,
)
TRAFFIC = Table("makai_metrics", columns=_own("timestamp_ms", "expire_at"), wide=True)
EVENTS = Table(
    "events",
    ("event_id",),
    columns=_own("event_id", "token", "start_ns", "end_ns", "finished", "analysed", "expire_at", "requests"),
    ahead=("finished", "analysed", "expire_at", "requests"),
    derived={
        "target_event_start_timestamp_ms": "start_ns / 1000000",
        "target_event_end_timestamp_ms": "(end_ns + 999999) / 1000000",
    },
    identity=lambda one: f"token {one['token']}",
)
BOX_EVENTS = Table(
    "box_events",
    ("event_id", "box_id"),
    columns=_own("event_id", "box_id"),
    identity=lambda one: file_name(one["event_id"], one["box_id"]),
    foreign_boxes=True,
)
INCIDENTS = Table(
    "incidents",
    ("incident_id",),
    columns=_own("incident_id", "group_id", "start_ns", "end_ns", "expire_at"),
    derived={
        **_own("box_id", "uncertainty_ns", "clock_id", "samples_began_ns", "start_id", "leads", "by_hand"),
        "class": "kind",
    },
    large=("measurements",),
    kept=("annotations", "metadata"),
    foreign_boxes=True,
)
FACTS = Table(
    "incident_facts",
    ("incident_id",),
    "opq_incident_facts",
    columns={"incident_id": "group_id"},
    id_field="incident_id",
    wide=True,
    versioned=False,
)
INDEX = Table(
    "incident_index",
    ("incident_id",),
    "opq_incident_index",
    columns={
        "incident_id": "group_id",
        **_own("start_ns", "end_ns", "length_ns", "kind", "machine_kind", "label", "residual_percent"),
        **_own("severity", "scope", "cell", "words", "boxes", "work", "assigned_to", "known_cause"),
    },
    derived={"severity_key": "coalesce(severity, 0)", "length_ns": "coalesce(length_ns, 0)"},
    in_columns=True,
    values=("tags", "incident_tags", "start_ns"),
    id_field="incident_id",
    versioned=False,
)
PARTS = Table(
    "incident_boxes",
    ("incident_id", "box_id"),
    "opq_incident_boxes",
    columns={
        "incident_id": "group_id",
        **_own("box_id", "start_ns", "end_ns", "kind", "residual_percent", "length_ns", "worst_start_ns"),
        **_own("worst_id"),
    },
    in_columns=True,
    identity=lambda one: f"{one['incident_id']}:{one['box_id']}",
    versioned=False,
)
INDEX_COUNTERS = {table: table.name for table in (INDEX, PARTS)}
"""Table of the index -> counter that notes that it has every incident of ours."""
NOTES = Table(
    "incident_notes",
    ("note_id",),
    "opq_incident_notes",
    columns={"note_id": "note_id", "incident_id": "group_id", "account_id": "account_id"},
    identity=lambda one: one["note_id"],
    versioned=False,
)
HEIRS = Table(
    "incident_heirs",
    ("incident_id",),
    "opq_incident_heirs",
    columns={"incident_id": "group_id", "heir": "heir"},
    in_columns=True,
    id_field="incident_id",
    versioned=False,
)
INTERVALS_NEW = Table(
    "intervals_new",
    ("start_ns", "box_id", "length_ms", "sequence"),
    "opq_intervals_new",
    columns=_own("box_id", "length_ms", "start_ns", "sequence", "body"),
    in_columns=True,
    identity=lambda one: f"{one['box_id']}/{one['length_ms']}/{one['start_ns']}/{one['sequence']}",
    wide=True,
    versioned=False,
)
INTERVALS_DAMAGED = Table(
    "intervals_damaged",
    ("start_ns", "box_id", "length_ms", "part"),
    "opq_intervals_damaged",
    columns=_own("box_id", "length_ms", "start_ns", "part", "body", "why"),
    in_columns=True,
    identity=lambda one: f"{one['box_id']}/{one['length_ms']}/{one['start_ns']}/{one['part']}",
    wide=True,
    versioned=False,
)
INTERVAL_BLOCKS = Table(
    "interval_blocks",
    ("start_ms", "box_id", "length_ms", "level"),
    "opq_interval_blocks",
    columns=_own("box_id", "length_ms", "level", "start_ms", "packed"),
    in_columns=True,
    identity=lambda one: f"{one['box_id']}/{one['length_ms']}/{one['level']}/{one['start_ms']}",
    versioned=False,
)
INTERVALS_DUE = Table(
    "intervals_due",
    ("start_ms", "length_ms", "box_id"),
    "opq_intervals_due",
    columns=_own("start_ms", "length_ms", "box_id"),
    in_columns=True,
    identity=lambda one: f"{one['box_id']}/{one['length_ms']}/{one['start_ms']}",
    versioned=False,
)
INTERVAL_NUMBERS = Table(
    "interval_numbers",
    ("box_id", "sequence"),
    "opq_interval_numbers",
    columns=_own("box_id", "sequence", "expire_at"),
    in_columns=True,
    identity=lambda one: f"{one['box_id']}:{one['sequence']}",
    wide=True,
    versioned=False,
)
DISTURBANCES = Table(
    "disturbances",
    ("start_ns", "box_id", "family"),
    "opq_disturbances",
    columns=_own(
        "box_id",
        "family",
        "start_ns",
        "end_ns",
        "closed",
        "kind",
        "uncertainty_ns",
        "residual_v",
        "polyphase_group",
    ),
    in_columns=True,
    identity=lambda one: f"{one['box_id']}/{one['family']}/{one['start_ns']}",
    wide=True,
    versioned=False,
)
PHENOMENA = Table(
    "phenomena",
    ("phenomena_id",),
    columns=_own("phenomena_id", "start_ts_ms", "end_ts_ms", "expire_at"),
    listed=("affected_opq_boxes", "phenomenon_boxes"),
    identity=lambda one: f"phenomenon {one['phenomena_id']}",
    wide=True,
    versioned=False,
)
