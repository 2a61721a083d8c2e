"""Scores computed elsewhere as a run: files.py and head_columns.py read and check them, store.py writes the run."""
