"""Run the command line as `python -m halluguard`."""

from halluguard.cli import main

main()
