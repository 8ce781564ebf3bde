"""`python -m harness` is the `harness` command."""

import contextlib
import os
import sys

with contextlib.suppress(OSError):  # the working folder is gone, and so is what was in it
    if not sys.flags.safe_path and os.path.abspath(sys.path[0]) == os.getcwd():
        del sys.path[0]  # a file in it may have the name of a module that is imported later

from harness.cli import main

main()
