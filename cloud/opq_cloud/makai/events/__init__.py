"""Parts of the event service: requests to Boxes, and how far their answers go."""
