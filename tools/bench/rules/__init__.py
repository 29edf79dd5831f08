"""The rule engine: events per second, rules per second, bytes per rule, latency."""
