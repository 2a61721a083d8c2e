"""Planted answers and identities that every score must reproduce, run by `reportgen selftest` in seconds."""
