"""From a decision to an event: which Boxes are asked, for which span, and what belongs to it."""
