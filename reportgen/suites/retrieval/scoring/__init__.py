"""Scores of retrieval heads. Torch."""
