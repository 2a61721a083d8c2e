"""The suite `relations`: see suite.py."""
