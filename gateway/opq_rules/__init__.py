"""The rule engine: SQL over streams, with sources, sinks and functions of its own and of plug-ins."""
