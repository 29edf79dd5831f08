"""The rule engine over HTTP, in the manner of eKuiper, and as a process of its own (`command.main`)."""
