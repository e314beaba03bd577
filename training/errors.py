"""The one error that ends a program with a line instead of a traceback."""


class UserError(Exception):
    """What the user asked for cannot be done; the message says what to change."""
