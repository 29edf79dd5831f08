"""Stream rules at the edge: the engine of `opq_rules` in the gateway. Imported only where enabled."""
