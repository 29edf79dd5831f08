"""One running SELECT, without I/O, clock or thread: records in, emissions out.

`plan` checks a statement once; `Query` runs the plan: live, in virtual time, and again after a kill.
"""
