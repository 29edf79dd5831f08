"""Edge rules and the one plug-in host of the toolkit; so far `opq_rules.plugins`, its smallest form."""
