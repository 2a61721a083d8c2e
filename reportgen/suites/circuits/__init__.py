"""The suite `circuits`: see suite.py."""
