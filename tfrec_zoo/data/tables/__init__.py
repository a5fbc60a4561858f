"""Tables of any columns: what their columns are, and their rows in blocks."""
