"""The available sources, sinks and functions, configured and not started."""
