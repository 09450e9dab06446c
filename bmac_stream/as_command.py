"""A function as a command: fire reads the words, and nothing runs unless it understood all of them."""

import functools
from collections.abc import Callable
from typing import Any

import fire

__all__ = ["as_command"]


def as_command(main: Callable[..., None]) -> None:
    """Call `main` with the words of the command line, as fire would. fire alone calls it first and then
    finds that a flag is misspelt: a collector would run for ever without it. Here that is status 2."""
    taken: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    @functools.wraps(main)
    def take(*args: Any, **kwargs: Any) -> None:
        taken.append((args, kwargs))

    fire.Fire(take)
    for args, kwargs in taken:
        main(*args, **kwargs)
