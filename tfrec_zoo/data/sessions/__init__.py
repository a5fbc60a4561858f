"""Session logs: reading, preparation, batches."""
