"""Live values: reader, hub, streams, `/live`."""
