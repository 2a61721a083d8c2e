"""Heads on running text, measured. Imports torch."""
