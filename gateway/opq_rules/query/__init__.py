"""One SELECT running, without I/O, clock or thread: records in, emissions out.

`plan` checks a statement once; `Plan.start` gives a `Query`, the object that live rules, virtual time,
backtests and restarts after a kill all feed.
"""
