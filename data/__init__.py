"""Photographs: folders, lists and archives of them, the data sets made of them, and batches for the network."""
