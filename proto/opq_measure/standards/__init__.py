"""What a standard asks of a week's values: shares within limits, percentiles, tables of events, indices."""
