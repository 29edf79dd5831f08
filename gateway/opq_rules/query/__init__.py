"""One running SELECT, without I/O, clock or thread: records in, emissions out.

`plan` checks a statement once and gives a plan; `Query` runs it. The same class serves running rules, virtual
time, backtests and restarts after a kill.
"""
