"""TLS as this software uses it: contexts from files that an operator names.

Promises: TLS 1.3 or newer, HTTP/1.1 only (ALPN), and a client certificate either required and verified or not asked
for. A private key that other users of the host can read is refused by name. Refused: older protocol versions, cipher
lists and anonymous modes as options; there is nothing to choose wrongly.

Plain synchronous code without state: files are read once, when a context is made. To pick up renewed files, make a new
context.
"""

from core.tls.contexts import TlsFilesError, server_context

__all__ = ["TlsFilesError", "server_context"]
