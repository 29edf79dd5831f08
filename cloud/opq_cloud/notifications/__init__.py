"""Notifications of incidents, silent Boxes and failing services, by mail, webhook or MQTT."""
