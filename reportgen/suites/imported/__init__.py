"""Scores computed elsewhere: never scored here, only drawn."""
