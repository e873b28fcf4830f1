"""Operators: batch norm and Shuffle Attention, in plain Paddle operators or fused."""
