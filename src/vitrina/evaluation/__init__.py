"""Honest measurement: full ranking, by time, through the recommender that serves."""
