"""What the pages request of other programs: services, rule engines, Boxes, the examiner of recordings."""
