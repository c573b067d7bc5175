"""Studies: many runs, measured and kept in one table that can be added to at any time."""
