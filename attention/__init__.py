"""Attention layers, one a file; each maps [N, C, H, W] to the same shape."""

from attention.shuffle_attention import ShuffleAttention

__all__ = ["ShuffleAttention"]
