"""Parts for drawing pages: templates, charts as data and as SVG, rows of a Box over a span, folded lists."""
