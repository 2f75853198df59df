"""The form of the commands' parsers, and the options that several commands have in common."""

from __future__ import annotations

import argparse

from clipmask.program import program_name

_Parser = argparse.ArgumentParser | argparse._ArgumentGroup


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Formats help with the examples unchanged and the default of each option.

    An option without a default value must describe its default in its own text.
    """

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, []):
            return action.help
        return super()._get_help_string(action)


def new_parser(description: str, examples: str | None = None) -> argparse.ArgumentParser:
    """Returns a parser with the program's name; ``examples`` are printed after the options."""
    return argparse.ArgumentParser(
        program_name(), description=description, epilog=examples, formatter_class=HelpFormatter
    )


def add_force(parser: _Parser, help: str = "replace the output file if it exists") -> None:
    """Adds ``--force``."""
    parser.add_argument("--force", action="store_true", help=help)


def add_opts(parser: _Parser, help: str) -> None:
    """Adds ``--opts``, config keys and values in turn."""
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE", help=help)


def add_register(parser: _Parser, help: str) -> None:
    """Adds ``--register``, Python files that are imported first; see ``register_file``."""
    parser.add_argument(
        "--register", nargs="+", action="extend", default=[], metavar="FILE.py", help=help
    )
