"""Heads that carry a task in context, measured. Imports torch."""
