"""The half of the suite that draws."""
