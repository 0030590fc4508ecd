"""Slots, the partitions that hold them, and which of them starts: everything about it that is a value.

Purpose. A host has two slots for the operating system, A and B, each a partition. The table of partitions (GPT) says by
attribute bits which slot starts next and how often that may be tried. `table` is a table as a value, `reading` finds
and judges it on a disk, `writing` says what to write where, and in which order, so that it changes in one step;
`slots` are the bits, and `choice` is the decision of the boot loader, by the same rules.

Promises
- Pure: no file is opened here. Reading asks a function for bytes, writing gives out writes and the places between them
  where all before must be durable.
- After a power cut at any of those writes, with any of the unsynced ones lost or torn, a reader of the table finds the
  old one or the new one, whole. What was damaged before is repaired first, from the copy that is whole.
- Nothing is believed: signatures, both checksums, places, overlaps, counts and sizes are checked before a partition is
  named. A table that does not hold is refused with the reason, never mended by guessing.
- What is not understood is kept: attribute bits and partitions of other makes are written back as they were read.

Refused: making room, moving or resizing partitions of others, MBR tables, more or fewer than two slots.

Nothing is owned, nothing can be cancelled, and no queue can be full: these are functions of values.
"""
