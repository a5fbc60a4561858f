"""Click data: features, preparation, shards, batches."""
