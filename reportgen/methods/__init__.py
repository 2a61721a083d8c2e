"""What a paper says of a run: what was done, compute, error bars, licences; a crate and a model card."""
