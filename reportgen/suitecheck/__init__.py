"""`reportgen suite check`: runs a suite on small models and checks the rules."""
