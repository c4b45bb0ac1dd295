"""`python -m tests.mongo_server`: build the server that tests will start, and say which it is. Exit status 1: none."""

from __future__ import annotations

import os
import sys

from tests.mongo_server import URI
from tests.mongo_server.commands import Unavailable, find

if os.environ.get(URI):
    print(f"MongoDB protocol: the server at {URI}")
else:
    try:
        print(f"MongoDB protocol: {find()[0]}")
    except Unavailable as why:
        sys.exit(f"MongoDB protocol: no server ({why})")
