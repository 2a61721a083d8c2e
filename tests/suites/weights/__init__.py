"""Tests of the suite `weights`."""
