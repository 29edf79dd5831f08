"""The state of the services over HTTP: the original's health contract and Prometheus metrics."""
