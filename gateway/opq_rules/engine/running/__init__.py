"""Rules while they run: sources, the loop, checkpoints, sinks."""
