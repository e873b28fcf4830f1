"""Trained networks behind a page and an HTTP interface."""
