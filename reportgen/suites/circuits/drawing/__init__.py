"""Task circuits, drawn from a stored result. Never imports torch."""
