"""Notifications: who is notified of which incident, silent Box or service, by mail, webhook or MQTT."""
