"""The verbs of the command line, a module per group; heavy imports stand inside the functions."""
