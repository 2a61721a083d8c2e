"""Post-training that makes a model's attention sparse: `reportgen sparsify`."""
