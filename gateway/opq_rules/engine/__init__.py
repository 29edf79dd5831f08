"""Rules that live: sources feed one thread, it runs the queries, sinks send on threads of their own.

    [source thread] -> Feed, bounded -> [engine thread: decode, queries] -> Outlet, bounded -> [sink thread]
                                                      |
                                     qos >= 1: offsets, states and emissions in one transaction
                                     of `delivery`, before any sink sees them

`engine.Engine` is the door; nothing outside this folder calls anything else in it.
"""
