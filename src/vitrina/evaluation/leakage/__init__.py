"""The leakage audit: what is known at a moment does not depend on what happens after it."""
