"""The rule engine over HTTP, like eKuiper's; also as its own process (`command.main`)."""
