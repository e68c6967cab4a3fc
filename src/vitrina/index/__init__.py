"""Nearest-neighbour search over item vectors."""
