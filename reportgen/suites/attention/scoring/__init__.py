"""Attention on repeated random tokens and natural text, measured. Imports torch."""
