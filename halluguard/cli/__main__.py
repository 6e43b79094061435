"""Run the command line as `python -m halluguard.cli`."""

from halluguard.cli import main

main()
