"""The classes of new photographs: which files, the network's answers, and what is made of them."""
