"""Figures of an evaluation, and the files that it leaves."""
