"""The running rules: sources feed one thread, it runs the queries, sinks send on threads of their own.

    source thread            engine thread                                          sink thread
    SourceRunner, bounded -> EngineLoop: StreamInput, QueryUnit -> SinkRunner, bounded -> delivery.Pipeline
                                  |
                             qos >= 1: Checkpoint: offsets, states and emissions in one transaction
                             of the Outbox, before any sink gets them

    RuleStore: what is defined, and the one lock     RuleLifecycle: which rules run, their states in one table
    Planner: from a text to a QueryUnit              EndpointFactory: sources and sinks, configured

`engine.Engine` is the only entry; nothing outside this folder calls anything else in it. All is drawn in
docs/rules-inside.md.
"""
