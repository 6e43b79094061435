"""Run several branches of one prompt inside a model's own `generate`. Start with `view.py`."""
