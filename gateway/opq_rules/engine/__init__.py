"""The running rules: sources feed one thread, it runs the queries, sinks send on their own threads.

    definitions/   what a rule is, as its user wrote it: checked, stored in rules.sqlite3; nothing here runs
    types/         the sources, sinks and functions that there are; they are made here and not started
    running/       a rule that runs: Rule and its five states, QueryUnit; a source, an input, a sink
    state/         what survives a kill: Checkpoint collects it, the Outbox is its file
    loop.py        the one thread that touches all of this, and needs no lock for it
    lifecycle/     how a rule starts, stops, waits, fails and starts again, and what it shares with others
    stream_catalogue.py   streams and tables        rehearsal.py   checks before an import
    views.py       answers about rules       engine.py      the one door

A line imports only from lines above it (a test checks this). `engine.Engine` is the only entry; code outside
this folder uses nothing else of it. All is drawn in docs/rules-inside.md.
"""
