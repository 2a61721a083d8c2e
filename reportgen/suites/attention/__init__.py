"""The suite `attention`: see suite.py."""
