"""Reads pickles without running the code that they name."""
