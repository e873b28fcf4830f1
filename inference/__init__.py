"""A trained network outside training: as a program that Paddle Inference and exports run."""
