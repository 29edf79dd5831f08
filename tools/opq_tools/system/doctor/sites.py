"""Sites whose phases are connected otherwise than stated, by the newest ten minutes of their Boxes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from opq_cloud.operations.site_now import wrong_wirings
from opq_proto.errors import OpqError
from opq_tools.shared.opened_store import SHOWN_ANSWER_S, store_to_show
from opq_tools.system.doctor.problem import Problem


def check_sites(data_dir: Path) -> Iterator[Problem]:
    """Yields each such site; what a store lacks is named by `stores.py`."""
    try:
        with closing(store_to_show(data_dir, SHOWN_ANSWER_S)) as store:
            found = wrong_wirings(store.intervals, store.boxes())
    except (OpqError, sqlite3.Error):
        return
    for name, wrong in found.items():
        fix = (
            "correct the connection, or state the phases as they are: opq-tools boxes set ID --phase; "
            "until then no unbalance and no type of a dip is judged there"
        )
        yield Problem("site", f"{name}: {wrong}", fix)
