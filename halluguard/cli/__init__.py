"""The command line `halluguard`, with one module per command. Each command imports the heavy packages that it needs."""

from halluguard.cli import (  # noqa: F401  # each registers its command
    audit,
    bake,
    calibrate,
    caption,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    play,
    sample,
    serve,
    train,
)
from halluguard.cli.app import app, exit_code, main

__all__ = ["app", "exit_code", "main"]
