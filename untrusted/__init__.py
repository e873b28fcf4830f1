"""Readers of what strangers may have made: they run nothing of it, and refuse in one line what is damaged or hostile."""
