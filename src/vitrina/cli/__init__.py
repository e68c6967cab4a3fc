"""The command line: everything Vitrina does, one command each."""

from vitrina.cli.app import main

__all__ = ["main"]
