"""Slots, the partitions that hold them, and which of them starts.

Purpose. A host has two slots for the operating system, A and B, each a partition. The table of partitions (GPT) says by
attribute bits which slot starts next and how often that may be tried. `table` is a table as a value, `reading` finds
and judges it on a disk, `writing` says what to write where, and in which order, so that it changes in one step;
`slots` are the bits, and `choice` is the decision of the boot loader, by the same rules. All that is a value. `device`
and `disk` are the drivers: block devices and disk images, and the table on them.

Promises
- The values are pure: reading asks a function for bytes, writing gives out writes and the places between them where
  all before must be durable. Only the drivers open files.
- After a power cut at any of those writes, with any of the unsynced ones lost or torn, a reader of the table finds the
  old one or the new one, whole. What was damaged before is repaired first, from the copy that is whole.
- Nothing is believed: signatures, both checksums, places, overlaps, counts and sizes are checked before a partition is
  named. A table that does not hold is refused with the reason, never mended by guessing.
- A device that is mounted, read-only, in somebody's hands or not what it should be is refused before the first byte,
  and nothing is written outside of the partition that was opened.
- What is not understood is kept: attribute bits and partitions of other makes are written back as they were read.

Refused: making room, moving or resizing partitions of others, MBR tables, more or fewer than two slots.

An open device belongs to its `with` block. The drivers are synchronous and block, so tasks call them in a thread; a
write that was cancelled half-way is like one that the power cut.
"""
