"""Timings side by side with a plain reference, one run each: `make bench`. Not part of the tests."""
