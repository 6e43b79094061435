"""Train the sandbox models from scratch: `python -m halluguard.sandbox.train --help` lists the stages."""
