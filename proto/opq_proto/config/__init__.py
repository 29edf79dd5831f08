"""Configuration from TOML or JSON into frozen dataclasses; settings of a plug-in, source, sink, rule."""
