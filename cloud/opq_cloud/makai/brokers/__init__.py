"""Parts of the two brokers: admission, limits of a connection, and queues."""
