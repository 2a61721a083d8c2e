"""Probes of cognitive functions, drawn from a stored result. Never imports torch."""
