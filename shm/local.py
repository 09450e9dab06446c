"""Local: what means something in its own process only, and so is neither copied nor pickled."""

from typing import NoReturn

__all__ = ["Local"]


class Local:
    """Base of what holds file numbers, maps or threads.

    A copy would close the file numbers of its original, and one in another process would hold numbers of
    nothing and arrays that never change again: TypeError for copy, deepcopy and pickle.
    """

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} can be neither copied nor sent to another process; "
            "attach in the other process"
        )
