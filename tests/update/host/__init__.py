"""The updater: its state machine in a simulated world, its parts on disk images and stores."""
