"""The verbs of the command line, one module per group; heavy imports are inside the functions."""
