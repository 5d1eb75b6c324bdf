"""Results of registered pairs: transforms, scores, files and tables."""
