"""Heads of many runs side by side: fingerprints, nearest heads, pages; torch is never imported."""
