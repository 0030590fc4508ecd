"""corenode: a set of Linux machines as one. See ARCHITECTURE.md for the map of the rooms."""
