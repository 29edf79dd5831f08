"""Boxes without hardware: generated and replayed signals, on ptys, at real-time rate."""
