"""Relation scores, drawn from a stored result. Never imports torch."""
