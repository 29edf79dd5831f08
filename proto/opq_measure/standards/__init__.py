"""The requirements of standards for a week's values: shares within limits, percentiles, tables of events,
indices."""
