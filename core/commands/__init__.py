"""The verbs of the command line, a module each, loaded when called.

Promises: data on standard output and messages on standard error; exit 0 done, 1 failed, 2 wrong usage; an error that
can be expected is one or two lines that say what, why and what to do next, never a traceback.

Refused: state of its own, a configuration file for the client side, colours and progress bars where nobody looks.

A verb owns nothing beyond its run. Cancelled (Ctrl-C) it ends at once by that signal and leaves no half-written file.
"""
