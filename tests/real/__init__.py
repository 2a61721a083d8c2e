"""Real pretrained models: fetched from the package index, scored, and held to what they are known to do."""
