"""A trained run: its folder, its files, its checkpoints."""
