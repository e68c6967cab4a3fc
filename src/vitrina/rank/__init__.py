"""From candidates to an order: scores, rules, spread."""
