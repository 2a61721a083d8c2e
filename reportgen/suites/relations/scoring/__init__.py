"""Relation scores, measured. Imports torch."""
