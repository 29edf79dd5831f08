"""The common parts of all services of the cloud: the service and its runner, lateness, mail, webhooks."""
