"""The two-tower model: item tower, user tower, losses, training, export."""
