"""Where a network looks: Grad-CAM, and the gates of Shuffle Attention."""
