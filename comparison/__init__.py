"""Which network is better on the same photographs, and what the data carry."""
