"""What a shop's files might mean: a map of their columns, proposed from names and values."""
