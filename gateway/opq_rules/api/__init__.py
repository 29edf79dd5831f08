"""The rule engine over HTTP, like eKuiper's; also as a process of its own (`command.main`)."""
