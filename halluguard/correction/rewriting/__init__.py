"""Turn verdicts into the smallest edits that leave sentences."""
