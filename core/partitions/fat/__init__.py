"""FAT32 on a partition or a disk image: files that appear and go in one step.

Purpose. Boot loaders read FAT, and FAT has no journal: what a kernel leaves behind after a power cut may be a file
without its bytes, or one under two names. This is the little that a boot loader's files need, with an order of writes
that cannot do that, on the same open devices as the slots: nothing is mounted and nobody has to be root for an image.
`geometry` is where things lie, `names` how long names are told, `volume` the files.

Promises
- After a power cut at any write, with any unsynced ones lost, a file that was being made is there whole or not at all,
  one that was being removed is there whole or not at all, and no other file is touched. What may be left is room that
  belongs to no file; `Volume.mend` takes it back.
- This rests on a sector being written whole or not at all, and on names that lie in one sector, which is seen to.
- A volume that does not hold (a chain into nowhere, two files with the same room) is refused with the reason.

Refused: FAT12 and FAT16, renames (they cannot be done in one step for every reader), files that grow, dates (the same
files give the same bytes), names beyond ASCII.

A volume belongs to who opened its device, and holds the table of clusters in memory, 4 bytes each.
"""
