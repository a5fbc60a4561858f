"""Item vectors by id, the best items of a query, exactly, and the way to approximate indexes."""
