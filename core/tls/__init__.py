"""TLS as this software uses it: an authority of its own, contexts from files that an operator names, who a certificate
belongs to.

Promises. TLS 1.3 unless 1.2 is asked for, HTTP/1.1 only (ALPN), no session tickets, and a client certificate either
required and verified or not asked for. A private key that other users of the host can read is refused by name. What is
written is whole on the disk or not there, keys with mode 0600 from their first byte, and nothing is overwritten but a
certificate by its renewal, and the authority's own files by `ca rotate`, which ends what it has begun.

Refused: cipher lists and anonymous modes as options (there is nothing to choose wrongly), Ed25519 (browsers do not take
it), a new key at each renewal (key and certificate cannot be replaced in one step), lists and responders of revocation
(serials rest among the system records, where every node sees them at once).

Plain synchronous code without state: files are read once, when a context or an authority is made. To pick up renewed
files, make a new context; `files.stamp` tells when.
"""

from core.tls.contexts import TlsFilesError, peer_client_context, peer_server_context, server_context

__all__ = ["TlsFilesError", "peer_client_context", "peer_server_context", "server_context"]
