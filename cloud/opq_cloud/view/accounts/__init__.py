"""Visitors of View and what they may see and change: accounts, sessions, owned Boxes, the log of changes."""
