"""What this machine's owner uses: health, metrics, set-up page, MQTT, the service itself."""
