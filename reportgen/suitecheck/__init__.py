"""`reportgen suite check`: a suite really run on small models, and what it must keep to."""
