"""Sparse against dense circuits, measured. Imports torch."""
