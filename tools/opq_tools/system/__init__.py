"""The system on this machine: its configuration, services, state, logs and pages."""
