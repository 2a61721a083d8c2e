"""Figures in Altair, overlays, themes and exports. Nothing here imports torch."""
