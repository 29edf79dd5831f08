"""A schedule of reports that makes no other one while a test runs."""

import time
from datetime import UTC, datetime

from opq_cloud.reports.report_schedule import DAYS


def day_before_yesterday() -> str:
    """The week that is due since its midnight (UTC) stays the one for days, whatever day it is now."""
    return DAYS[(datetime.fromtimestamp(time.time(), UTC).weekday() - 2) % 7]
