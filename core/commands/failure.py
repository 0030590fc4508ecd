"""How a verb fails."""

import click


class Failure(click.ClickException):
    """An expected failure: what, why, what to do next, in one or two lines. Ends the process with exit code 1."""

    exit_code = 1
