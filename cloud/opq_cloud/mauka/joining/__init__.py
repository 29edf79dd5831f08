"""From findings to incidents: the findings that belong together, and the plan of what to write."""
