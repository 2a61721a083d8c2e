"""Scores computed elsewhere, made into a run: files.py and table.py read and check them, store.py writes the run."""
