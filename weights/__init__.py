"""Reads weights from files that others made, and starts networks from them."""
