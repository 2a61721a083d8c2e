"""Task circuits, measured. Imports torch."""
