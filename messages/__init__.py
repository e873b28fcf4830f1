"""What people read: errors that they can put right, names and values quoted safely, progress."""
