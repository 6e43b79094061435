"""Extract claims with exact spans from a parsed answer."""
