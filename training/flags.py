"""From command-line flags to a frozen config; no other file touches flags."""

import dataclasses
import sys

from absl import app, flags

from training.errors import UserError

flags.disclaim_key_flags()  # `--help` shows them as flags of the program that defines them.


def define(config_class, **choices):
    """Defines a flag for each field of a config that the command line can set.

    Args:
        config_class: A dataclass of `training.config`.
        **choices: Known values, for the fields that have few.
    """
    for field in dataclasses.fields(config_class):
        if "help" not in field.metadata:
            continue
        default = ",".join(map(str, field.default)) if field.name == "num_labels" else field.default
        text = field.metadata["help"] + (f" (default: {default})" if default != "" else "")
        if field.name in choices:
            flags.DEFINE_enum(field.name, None, choices[field.name], text)
        elif field.name == "num_labels":
            flags.DEFINE_list(field.name, None, text)
        elif field.type in (int, "int"):
            flags.DEFINE_integer(field.name, None, text)
        elif field.type in (float, "float"):
            flags.DEFINE_float(field.name, None, text)
        else:
            flags.DEFINE_string(field.name, None, text)


def folder(name, text):
    """Defines a flag for a folder that must be given."""
    flags.DEFINE_string(name, None, text)
    flags.mark_flag_as_required(name)


def given(config_class):
    """The fields of a config that the command line set."""
    names = [field.name for field in dataclasses.fields(config_class) if field.metadata]
    changes = {name: flags.FLAGS[name].value for name in names}
    changes = {name: value for name, value in changes.items() if value is not None}
    if "num_labels" in changes:
        try:
            changes["num_labels"] = tuple(int(count) for count in changes["num_labels"])
        except ValueError as error:
            raise UserError(
                "--num_labels must be whole numbers with commas between them, such as 500,1000. "
                f"Received: {','.join(changes['num_labels'])}."
            ) from error
    return changes


def value(name):
    return flags.FLAGS[name].value


def run(main):
    """Runs `main()`: what the user got wrong ends in one line on stderr and exit status 1."""

    def checked_main(argv):
        if len(argv) > 1:
            raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
        try:
            return main()
        except UserError as error:
            sys.exit(f"error: {error}")

    app.run(checked_main)
