"""Attention inserted into a trained ResNet: the exact start, the training of its gates alone, and whether it helps."""
