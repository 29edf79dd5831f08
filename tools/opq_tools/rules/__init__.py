"""Commands that use a running rule engine over REST: stream, table, rule, ruleset, query, and some of plugin.

`rule try` and `rule backtest` need no engine.
"""
