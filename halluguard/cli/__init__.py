"""The command line `halluguard`: one module per command. Heavy packages are imported by the command that needs them."""

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
