"""Where each case of the reliability list is tested: every name here is a test whose docstring names its case."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
CASES = {
    "T13": "core/test_sasl_scram.py",
    "T21": "plugins/test_stream_management.py",
    "T27": "core/test_net_peer_certificate.py",
    "T28": "plugins/muc/test_messages.py",
    "T29": "plugins/test_carbons.py",
    "T30": "plugins/test_stream_management.py",
    "T32": "core/test_strangers.py",
    "T33": "plugins/test_presence.py",
    "T34": "plugins/test_blocking.py",
    "T35": "plugins/muc/test_archive.py",
    "T36": "core/test_strangers.py",
    "T37": "core/test_strangers.py",
    "T38": "process/test_backpressure.py",
    "T39": "plugins/test_limits.py",
    "T40": "plugins/test_limits.py",
    "T41": "core/test_limits.py",
    "T42": "core/test_limits.py",
    "T43": "process/test_disk.py",
    "T44": "faults/test_faults.py",
    "T45": "process/test_disk.py",
    "T46": "core/test_strangers.py",
    "T48": "storage/test_sqlite.py",
    "T49": "faults/test_faults.py",
    "T50": "core/test_delivery.py",
    "T51": "process/test_restart.py",
    "T52": "process/test_reload.py",
    "T53": "faults/test_faults.py",
    "T54": "plugins/muc/test_duplicates.py",
    "T58": "process/test_files_hostile.py",
    "T59": "process/test_websocket.py",
    "T60": "core/test_http_proxies.py",
}


@pytest.mark.parametrize("case", CASES)
def test_each_case_has_its_test(case: str) -> None:
    tree = ast.parse((ROOT / CASES[case]).read_text("utf-8"))
    tests = [
        each
        for each in ast.walk(tree)
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)) and each.name.startswith("test_")
    ]
    texts = [ast.get_docstring(tree) or "", *(ast.get_docstring(each) or "" for each in tests)]
    assert any(re.search(rf"\b{case}\b", text) for text in texts), f"{CASES[case]} does not name {case}"
