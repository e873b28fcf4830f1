"""Weights from files that others made, and how a network starts from them."""
