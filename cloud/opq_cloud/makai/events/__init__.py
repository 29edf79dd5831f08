"""Parts of the event service: requests to Boxes, and the extent of their answers."""
