"""Gives a server that a test starts other limits than users have: Python takes this in first, from PYTHONPATH."""

import importlib
import json
import os
import sys

if "start" in sys.orig_argv:
    for place, value in json.loads(os.environ["TEST_LIMITS"]).items():
        module, _, name = place.rpartition(".")
        setattr(importlib.import_module(f"qrec.dashboard.{module}"), name, value)
