"""The sources, sinks and functions that there are, configured and not started."""
