"""Messages to the user: errors that the user can correct, safely quoted names and values, progress."""
