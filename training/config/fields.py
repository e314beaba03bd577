"""What the fields of all configs share: how one is set, and what is refused."""

import dataclasses

from training.errors import UserError


def flag(default, help_text, is_path=False, **only):
    """A field that the command line can set.

    Args:
        default: Its value.
        help_text: What it is.
        is_path: Whether it names a file or a folder.
        **only: Values of other fields with which it does something.
    """
    return dataclasses.field(
        default=default, metadata={"help": help_text, "is_path": is_path, "only": only}
    )


def changed(config, changes):
    """A config with what the user set.

    Raises:
        UserError: If something that was set would do nothing.
    """
    if "grid" in changes and {"axis", "num_patches"} & set(changes):
        raise UserError(
            "--grid takes the place of --axis and --num_patches: give one or the other."
        )
    if {"axis", "num_patches"} & set(changes):
        changes = {"grid": (), **changes}  # Of a recipe that has one.
    config = dataclasses.replace(config, **changes)
    for field in dataclasses.fields(config):
        for name, values in field.metadata.get("only", {}).items():
            if field.name in changes and getattr(config, name) not in values:
                raise UserError(
                    f"--{field.name} is for --{name}={' or '.join(values)}. Received: "
                    f"--{name}={getattr(config, name)}."
                )
    return config


def as_text(value):
    """A value as the command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def refuse_below(config, names, at_least):
    for name in names:
        if getattr(config, name) < at_least:
            raise UserError(
                f"--{name} must be at least {at_least}. Received: {getattr(config, name)}."
            )


def check_seed(config):
    if not 0 <= config.seed < 2**31:
        raise UserError(f"--seed must be from 0 to 2**31 - 1. Received: {config.seed}.")
