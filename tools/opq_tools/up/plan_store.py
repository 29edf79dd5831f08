"""The store of the cloud that `up` starts, opened before that cloud runs."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from opq_cloud.core.original.original_settings import read_config
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.incidents.as_json import incident_json
from opq_cloud.view.web.words import headline, names_of
from opq_proto.errors import OpqError
from opq_tools.up.plan import UpPlan

EARLIER_INCIDENTS = 100


@contextmanager
def store_of(plan: UpPlan) -> Iterator[CloudStore]:
    """Opens the store that the plan's configuration names. Raises OpqError where that is not possible."""
    config = read_config([plan.data_dir / "config" / "cloud.toml"], {}, None)
    with closing(open_store(config.store.mongo_uri, config.store.data_dir or plan.data_dir)) as store:
        yield store


def earlier_incidents(plan: UpPlan) -> list[dict[str, object]]:
    """The newest incidents of earlier runs, as pages get them; none where no store opens."""
    try:
        with store_of(plan) as store:
            found = store.incidents(limit=EARLIER_INCIDENTS)
            names = names_of(store.boxes())
            return [{**incident_json(each), "summary": headline(each, names)} for each in found]
    except OpqError:  # the cloud logs why
        return []
