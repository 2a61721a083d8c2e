"""Two runs or more side by side: lineage.py what may be subtracted, settings.py what differs, store.py the result."""
