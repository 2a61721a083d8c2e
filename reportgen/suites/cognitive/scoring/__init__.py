"""Probes of cognitive functions, measured. Imports torch."""
