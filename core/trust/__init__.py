"""Which images are to be trusted: metadata of The Update Framework (TUF), made, signed, published, verified.

Purpose. A root of trust names the keys of four roles and how many of each must sign. Root and targets are signed by
people, with keys that stay offline; the cluster signs snapshot and timestamp by itself, so that nothing expires where
nobody has a way out. The one target of a release is its manifest, whose hashes stand for all the rest of it. `keys` are
key files; `metadata` makes, changes and signs; `releases` are targets as releases; `repository` is a directory that
hosts update from; `client` leads a host from the root in its image to the releases of today, and `state` keeps what it
trusted.

Promises
- The verifying and its order are python-tuf's; here is what it leaves to its user: time, storage, words, limits.
- Fewer keys than a threshold cannot make a host accept anything; one key counts once. A root is followed by one that
  both have signed. Retiring a key of the cluster makes hosts forget how far it had counted.
- Nothing older than what was trusted before is accepted, whichever slot runs: the state lies outside of both.
- Metadata says when it was made. A clock behind that is named as what is wrong, instead of an expiry never noticed.
- What is refused is a TrustError with its reason, whatever bytes came. Sizes are bounded before anything is parsed.
- Private keys are in files of mode 0600, sealed unless their owner declines, and in no message.

Refused: delegations (one product line has one set of people; their targets are ignored), RSA and ECDSA keys, metadata
without consistent snapshots, a network of its own: the caller fetches, and the callable may block.

The state directory and the repository's metadata are each changed under a lock by one caller at a time. Everything is
synchronous: tasks call it in a thread. Interrupted anywhere, a file is the old or the new one, and the call may be
repeated; a repository serves the new only when its timestamp is replaced, last of all. Full disks are errors of the
system, passed on, and leave what was there.
"""
