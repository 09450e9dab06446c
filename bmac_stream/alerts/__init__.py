"""Alerts: what is told to people, by which channel, how often, from a process of its own.

    events.py    what the collector says to that process, and the kinds of messages
    channels.py  where messages go: the config's `dingding`, `msg_sender` and `alerts`, checked
    watch.py     when silence, late symbols and bans are worth a message
    limiter.py   how often
    senders.py   one message to one channel: body, signature, and what the answer means
    service.py   the process: `python -m bmac_stream.alerts CFG`
    feed.py      the collector's end of it, which never waits

Why a process: docs/decisions/0066-alerts-from-a-process-of-their-own.md.
"""

__all__: list[str] = []
