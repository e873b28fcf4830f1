"""The machine: its processor and device, files that appear whole, locks, and how processes end."""
