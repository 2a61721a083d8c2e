"""Published results as targets: what a source reports, and the rule that says whether a run shows it."""
