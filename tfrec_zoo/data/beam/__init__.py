"""The preparation of click data on Apache Beam."""
