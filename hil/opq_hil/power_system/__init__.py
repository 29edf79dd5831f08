"""A whole power system: its frequency, its network, and what each cause gives every Box."""
