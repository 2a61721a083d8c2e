"""The half of the suite that uses torch."""
