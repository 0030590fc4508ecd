"""Images of the operating system: built the same everywhere, cut into chunks, written to a slot without risk.

Purpose. `build` makes a directory from a root folder or an image file: a manifest and chunks named by the hash of what
is in them. `install` writes such an image into the slot that is not in use. `manifest` is the value that tells all
bytes of a release; `cutting` says where a chunk ends; `store` is the directory of chunks; `reuse` says which chunks the
two slots of a host already have; `verity` is the tree of hashes by which a kernel checks each block it reads. `disk`
fills a whole disk from an image; `lanes` is the same work in several threads.

Promises
- The same tree, with any mtimes and in any directory, gives the same bytes, given the same mksquashfs and libzstd.
- Whoever has a manifest he trusts has to trust nothing else: each chunk is checked by size and hash before it is
  written, and is unpacked only into as many bytes as the manifest says.
- An install touches one slot and the bits of its entry in the table. Whatever moment it ends at, the slot it writes to
  does not start unless all of it was durable, was read back and was what the manifest says. The other one always does.
- What can be refused before the first byte is refused then: a slot that is too small or in use, an image with chunks
  that are missing or wrong.

Refused: a journal of what is done. The slot itself tells, and by hashes, so it cannot be wrong: after a crash `reuse`
finds what was already written, and only the rest is fetched. Refused too: fixed blocks as chunks (one insertion
moves all that follows; for a small change of a compressed squashfs nearly everything is fetched again).

All is synchronous and blocks, so tasks call it in a thread. Threads of its own end with the call; sources and progress
are asked and told in the caller's thread, unless it gives its source to several `readers`. A directory of chunks
belongs to who made it; an install holds the disk by `Disk`. No space is a DeviceError or ImageError with the slot
unbootable; the next install starts anew.
"""
