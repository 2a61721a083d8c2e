"""Figures of heads on text. No torch."""
