"""From findings to incidents: which belong together, and what is written."""
