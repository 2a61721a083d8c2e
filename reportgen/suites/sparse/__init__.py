"""The suite `sparse`: see suite.py."""
