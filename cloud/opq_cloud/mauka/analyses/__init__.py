"""Built-in analyses: one disturbance or duty per file, found by its name."""
