"""How the services are, over HTTP: the original's health contract and Prometheus metrics."""
