"""Several processes that work as one: how they are started, who they are, and what they tell each other."""
