"""The store of the cloud that `up` starts, opened before that cloud runs."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from opq_proto.errors import OpqError
from opq_tools.up.plan import UpPlan

if TYPE_CHECKING:
    from opq_cloud.store import CloudStore


@contextmanager
def store_of(plan: UpPlan) -> "Iterator[CloudStore]":
    """Opens the store that the plan's configuration names. Raises OpqError where that is not possible."""
    from opq_cloud.original.config import read_config
    from opq_cloud.store import open_store

    config = read_config([plan.data_dir / "config" / "cloud.toml"], {}, None)
    with closing(open_store(config.store.mongo_uri, config.store.data_dir or plan.data_dir)) as store:
        yield store


def newest_incident(plan: UpPlan) -> int:
    """Returns the number of the newest incident of earlier runs; 0 where there is none, or no store opens."""
    try:
        with store_of(plan) as store:
            return max((each.incident_id for each in store.incidents(limit=1)), default=0)
    except OpqError:  # the cloud logs why
        return 0
