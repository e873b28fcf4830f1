"""What a setting is, and how settings are read from recipes and command lines."""
