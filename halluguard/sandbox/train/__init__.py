"""Train the sandbox models from scratch: `python -m halluguard.sandbox.train scenes|tower|mllm|detector|adapter|all`."""
