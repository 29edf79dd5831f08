"""The original's JSON configuration, read key by key."""
