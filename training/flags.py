"""From command-line flags to a frozen config; no other file touches flags."""

import collections
import dataclasses
import os
import sys
import types
import typing

from absl import app, flags, logging

from training.config.fields import as_text
from training.errors import UserError

STOPPED = 130  # As a shell reports a program that Ctrl-C ended.

flags.disclaim_key_flags()  # `--help` shows them as flags of the program that defines them.


def define(config_class, recipes=None, **choices):
    """Defines a flag for each field of a config that the command line can set.

    Args:
        config_class: A dataclass of `training.config`.
        recipes: Functions that give a config, by name, whose own values the help shows as well.
        **choices: Known values, for the fields that have few.
    """
    recipes = recipes or {}
    for field in _settable(config_class):
        text = field.metadata["help"]
        for name, values in field.metadata["only"].items():
            text += f", for --{name}={' or '.join(values)}"
        text += _defaults(field, recipes)
        if field.name in choices:
            flags.DEFINE_enum(field.name, None, choices[field.name], text)
        else:
            _DEFINE[_kind(field)](field.name, None, text)


def _defaults(field, recipes):
    """What a field is unless it is set, or what recipes there are, in words."""
    if field.name == "recipe":
        first_lines = {name: recipe.__doc__.splitlines()[0] for name, recipe in recipes.items()}
        return "".join(f"; {name}: {line}" for name, line in first_lines.items())
    named = collections.defaultdict(list)
    for name, recipe in recipes.items():
        named[getattr(recipe(), field.name)].append(name)
    own = [f"{', '.join(names)}: {as_text(v)}" for v, names in named.items() if v != field.default]
    default = [] if field.default in ("", None, ()) else [as_text(field.default)]
    return f" (default: {'; '.join(default + own)})" if default or own else ""


_DEFINE = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}


def _settable(config_class):
    """The fields of a config that have a flag."""
    return [field for field in dataclasses.fields(config_class) if "help" in field.metadata]


def _kind(field):
    """bool, int, float, str or tuple, whether or not the field may be `None`."""
    kind = _type(field)
    return typing.get_origin(kind) or kind


def _type(field):
    """The type of a field when it is not `None`."""
    alternatives = [kind for kind in typing.get_args(field.type) if kind is not type(None)]
    return alternatives[0] if isinstance(field.type, types.UnionType) else field.type


def folder(name, text):
    """Defines a flag for a folder that must be given."""
    flags.DEFINE_string(name, None, text)
    flags.mark_flag_as_required(name)
    flags.register_validator(
        name, lambda path: "://" not in (path or ""), "must be a folder of this machine"
    )


def given(config_class):
    """The fields of a config that the command line set."""
    changes = {}
    for field in _settable(config_class):
        value = flags.FLAGS[field.name].value
        if value is not None:
            changes[field.name] = _elements(field, value) if _kind(field) is tuple else value
            # It holds wherever one goes on; an empty one is what it is unless it is set.
            if field.metadata["is_path"] and value and "://" not in value:
                changes[field.name] = os.path.abspath(os.path.expanduser(value))
    return changes


def _elements(field, words):
    if typing.get_args(_type(field))[0] is str:
        return tuple(words)
    try:
        return tuple(int(word) for word in words)
    except ValueError as error:
        raise UserError(
            f"--{field.name} must be whole numbers with commas between them, such as 500,1000. "
            f"Received: {','.join(words)}."
        ) from error


def path(name):
    """What the command line gave for a flag of `folder`."""
    return os.path.expanduser(flags.FLAGS[name].value)  # No shell does it after `--workdir=`.


def run(main):
    """Runs `main()`: what went wrong outside it ends in one line on stderr and exit status 1."""

    logging.set_verbosity(logging.ERROR)  # TFDS and TensorFlow comment on each step.

    def checked_main(argv):
        if len(argv) > 1:
            raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
        try:
            return main()
        except (UserError, OSError) as error:  # OSError: a full disk, a folder that is read-only.
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            print("\nStopped.", file=sys.stderr)
            return STOPPED

    app.run(checked_main)
