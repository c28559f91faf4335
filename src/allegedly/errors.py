"""The one error that a user of the package is meant to see."""


class InputError(ValueError):
    """An input that cannot be used: one clear line that says what is wrong, where, and what to do about it."""
