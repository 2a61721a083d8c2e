"""Figures of heads in context. No torch."""
