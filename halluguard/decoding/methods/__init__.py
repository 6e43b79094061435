"""Published decoding methods and their baselines, one method per file, equation first."""
