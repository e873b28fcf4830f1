"""The base of all errors that the user can correct."""


class UserError(ValueError):
    """An error that the user can correct; the message is one line: the value, the rule, the remedy.

    A script prints it and ends with ``exit_code``.
    """

    exit_code = 2
