"""The lake: a shop's items and events as clean Parquet tables."""
