"""A plug-in's process, and calls to it."""
