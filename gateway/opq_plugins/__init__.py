"""The host of plug-ins of gateway and cloud: sources, sinks, functions, triggers and analyses."""
