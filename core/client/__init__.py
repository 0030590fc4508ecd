"""The store from outside: HTTP over TCP, TLS or a node's unix socket.

Promises: an endpoint that cannot be connected to is passed over for the next; a write is sent at most once, and if its
outcome is not known `OutcomeUnknownError` says so (decision 14); a watch that reconnects loses and repeats nothing,
or says that history is gone. Every call ends by its deadline; watches and streams have none.

Refused: repeating writes, following redirects, keeping state beyond idle connections.

Owns only its connections. Cancelled: the connection in use is closed, never used again. A crash leaves nothing behind.
There are no queues: who calls waits.
"""
