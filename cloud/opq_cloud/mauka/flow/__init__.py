"""How an event, or a span of Measurements, goes through its analyses to its findings."""
