"""What the weights alone say about every head."""
