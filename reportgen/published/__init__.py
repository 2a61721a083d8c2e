"""Heads that papers have classified (published.toml), read by `catalogue`."""
