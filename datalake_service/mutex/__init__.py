"""The short lock over a WebSocket: its messages, its server and its client. See ``docs/design/011-mutex.md``.

The only package that knows the ``websockets`` library. Knows nothing of object stores or of what a lock protects.
"""
