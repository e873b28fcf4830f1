"""The search for the learning rate and weight decay of a network, on a part of the training list held out for it."""
