"""A whole power system: its frequency, its network, and the effect of each cause on every Box."""
