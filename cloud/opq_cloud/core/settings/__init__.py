"""The sections of the cloud's configuration: default, range and help of each key."""
