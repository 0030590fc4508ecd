"""What the cluster serves to hosts that update themselves: images kept on every member, published, signed anew.

Purpose. Whatever is large is a blob: a list of chunks, each named by the hash of its bytes. So there is one kind of
thing to upload, check, hand on and collect. `shelf` is a member's directory of chunks; `catalogue` is the small record
in the store that says which blobs are served and by which metadata; `keeper` makes the shelf of each member hold what
the record names; `publishing` changes the record; `signing` holds the cluster's keys and keeps snapshot and timestamp
from expiring; `serving` answers paths of a repository from both.

Promises
- All members serve the same metadata: it changes for all in one transaction, and only goes forward.
- What is published was verified as a host would, and a majority of the voters held all of it, durable, before anybody
  was told. A member that was away fetches what it lacks, from any other, when it is back.
- A chunk is checked before it is kept and again when it is read; a damaged one is fetched anew. What no served release
  names goes after a while.
- Keys never enter the log: they rest in files of mode 0600 in each member's data directory, and pass from member to
  member only, over mutual TLS. So they are in no snapshot, no backup, and no operator's answer.

Refused: trusting the publisher for more than the first root; a majority among other hosts than voters; serving over
plain HTTP.

The shelf belongs to one process. The keeper is a task of the member; cancelled, it leaves whole chunks. A crash leaves
at most unfinished files, which the next start removes. A full disk refuses uploads, is told to whoever publishes, and
leaves what is served as it is.
"""
