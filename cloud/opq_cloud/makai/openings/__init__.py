"""From a decision to an event: the Boxes that are asked, the span, and the Boxes that join it."""
