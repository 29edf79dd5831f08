"""Lengths of time in ns, ms and s; a file of their own, because every room may import it."""

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
HOUR_S = 3_600
DAY_S = 24 * HOUR_S
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
MINUTE_NS = MINUTE_MS * NS_PER_MS
HOUR_NS = HOUR_MS * NS_PER_MS
DAY_NS = DAY_MS * NS_PER_MS
