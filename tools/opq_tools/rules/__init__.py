"""Commands that ask a running rule engine over REST: stream, table, rule, ruleset, query, and plugin's.

`rule try` and `rule backtest` need no engine.
"""
