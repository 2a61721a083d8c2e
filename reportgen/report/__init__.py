"""A run becomes a report: HTML, PDF, scores.csv and figure files. Nothing here imports torch."""
