"""Comparing networks on the same photographs, and which of their differences the data support."""
