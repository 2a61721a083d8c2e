"""Figures of retrieval heads. No torch."""
