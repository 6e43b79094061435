"""Hold claims against the evidence of experts: one verdict per claim."""
