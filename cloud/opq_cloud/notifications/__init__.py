"""Notifications: who is told of which incident, silent Box or service, by mail, webhook or MQTT."""
