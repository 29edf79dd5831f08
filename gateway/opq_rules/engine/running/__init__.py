"""What runs: a source on its thread, the query on the engine's, a sink on its thread."""
