"""What all services of the cloud share: the service and its runner, lateness, mail, webhooks."""
