"""Planted answers and identities that every score must give, run by `reportgen selftest` in seconds."""
