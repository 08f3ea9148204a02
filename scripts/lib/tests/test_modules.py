"""Every module of the scripts can be loaded: some are used by one command alone, which nobody runs every day."""

import importlib
import unittest
from pathlib import Path


class Modules(unittest.TestCase):
    def test_every_module_loads(self):
        for path in sorted(Path(__file__).parent.parent.glob("*.py")):
            # The chart's checks have packages of their own, which are fetched for their step; it loads all of them.
            if not path.stem.startswith(("__", "chart_")):
                with self.subTest(path.stem):
                    importlib.import_module(f"lib.{path.stem}")
