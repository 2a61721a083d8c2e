"""Runs side by side: never scored here, only drawn."""
