"""What this machine's owner meets: health, metrics, set-up page, MQTT, the service itself."""
