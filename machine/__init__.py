"""What the machine is and does: its processor and device, files that appear whole, locks, how processes end."""
