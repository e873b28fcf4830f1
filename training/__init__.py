"""Training a network: the loop, its state, the run folder, resuming."""
