"""The drawing behind sample_animals.py: animals and scenery, both made of painted shapes."""
