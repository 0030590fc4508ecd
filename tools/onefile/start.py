"""Becomes `__main__.py` of the one file: refuses a system it was not built for, then runs the program from its cache.

It is read by whatever Python somebody starts it with, so it keeps to syntax that every Python understands.
"""

import os
import sys

# Filled in by the build: Python's minor version, processor, oldest C library, digest of the payload.
PYTHON, MACHINE, GLIBC, DIGEST = "", "", (0, 0), ""

python = "%d.%d%s" % (sys.version_info[0], sys.version_info[1], getattr(sys, "abiflags", ""))
implementation = getattr(sys, "implementation", None)
kind = implementation.name if implementation else "python"
machine = os.uname()[4] if sys.maxsize > 2**32 else "32-bit " + os.uname()[4]
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
except ValueError:  # a C library other than GNU's
    libc = ""
glibc = tuple(int(part) for part in libc.split()[-1].split(".")[:2]) if libc.startswith("glibc ") else (0, 0)

problem = ""
if kind != "cpython" or python != PYTHON:
    problem = "built for CPython %s, and this is %s %s: run it with python%s" % (PYTHON, kind, python, PYTHON)
elif sys.flags.optimize:
    problem = "python -O takes checks out of programs: run it without"
elif machine != MACHINE:
    problem = "built for %s processors, and this is %s: get the file for this machine" % (MACHINE, machine)
elif glibc < GLIBC:
    problem = "needs the GNU C library %d.%d or newer, and this system has %s: run it on a newer system" % (
        GLIBC[0],
        GLIBC[1],
        libc or "another one",
    )
if problem:
    sys.exit("corenode: " + problem)

import onefile_cache  # type: ignore[import-not-found]  # noqa: E402  # lies beside this file in the archive

onefile_cache.enter(os.path.abspath(os.path.dirname(__file__)), DIGEST)

from cli import main  # noqa: E402  # from the cache

sys.exit(main())
