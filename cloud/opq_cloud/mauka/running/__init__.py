"""Parts of the runners: waiting events, analyses and their processes, and the provenance of findings."""
