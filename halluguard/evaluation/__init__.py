"""Run benchmarks on a model or on published answers, from the command line: `halluguard eval NAME`.

Each module has `options_parser()` and `run(options)`; the scores themselves are in `halluguard.metrics`, which loads no
model.
"""
