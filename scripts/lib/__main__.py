"""Runs one command: `python3 scripts/lib dev up`. Its syntax stays old, so that an old Python can say what it lacks."""

import os
import sys

if sys.version_info < (3, 9):
    sys.exit("error: Python 3.9 or newer is needed, this is %d.%d." % sys.version_info[:2])
if not sys.platform.startswith("linux"):
    sys.exit("error: the scripts run on Linux only: they read /proc. Use a container or a virtual machine.")

# The folder above this one, so that the modules import one another as `lib.…`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

if __name__ == "__main__":
    import importlib

    from lib import ui

    module = importlib.import_module("lib." + sys.argv[1])
    sys.exit(ui.guarded(module.main, sys.argv[2:]))
