"""The doors: one room a dialect, all over the same small interface to the node (`store`).

Purpose. `http` turns bytes into requests, `router` finds the handler, `v2` and `ops` parse, check, propose and render.
None of them places, applies or keeps anything: the node does. A handler is synchronous and answers through its `Reply`
at once or from the callback of its proposal; a stream has a task of its own, which ends with its client.

Refused: reaching past `store` into the keyspace, and answers that repeat a write whose outcome is unknown.
"""
