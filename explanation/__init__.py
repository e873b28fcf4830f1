"""Showing where trained networks look: Grad-CAM, and the gates of Shuffle Attention."""
