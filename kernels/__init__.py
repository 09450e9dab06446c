"""Numbers: one compiled function per operator. Knows nothing of exchanges, bars or shared memory."""

__all__: list[str] = []
