"""What survives a kill: offsets, states and unsent emissions, in delivery.sqlite3."""
