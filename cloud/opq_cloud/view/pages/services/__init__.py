"""Other services of the cloud, as pages ask them."""
