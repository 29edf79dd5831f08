"""Connections of sources and sinks: HTTP, MQTT, what they may reach, and their secrets."""
