"""The tables of the store, for both drivers; docs/schema.md lists their columns and indexes.

Fields and collections of the original are as in docs/reference/opq-interop.md, part D. The tables of people
are in `records/accounts.py`.
"""

from opq_cloud.store.documents.events import file_name
from opq_cloud.store.driver import Table


def _own(*names: str) -> dict[str, str]:
    return {name: name for name in names}


BOXES = Table("opq_boxes", ("box_id",), columns=_own("box_id"), versioned=False, remembered=True)
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
)
