"""Photographs whose label the networks of other folds contest: confident learning, and what is written of it."""
