"""List of incidents and an incident's page."""
