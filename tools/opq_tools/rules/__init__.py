"""Commands that use a running rule engine over REST: stream, table, rule, ruleset, query, and some of plugin.

`rules try` and `rules backtest` need no engine.
"""
