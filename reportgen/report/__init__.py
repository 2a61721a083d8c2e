"""Turns a run into a report: HTML, PDF, scores.csv and figure files. Nothing here imports torch."""
