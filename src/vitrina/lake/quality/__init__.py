"""How good the lake's data is: profile, bots, fitness for a recommender, drift, and their pages."""
