"""A contract for import-linter: plugins import what `xmppd.public_api` lists, and nothing else of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from importlinter import Contract, ContractCheck, fields, output

from docs.plugin_api import ROOT, refused


def private_imports(folder: Path) -> list[str]:
    """A line for each import in a folder of plugins that is not public."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted(folder.rglob("*.py"))
        for line, name in refused(path.read_text("utf-8"))
    ]


class PublicImports(Contract):
    type_name = "public_imports"
    source_package = fields.StringField()

    def check(self, graph: Any, verbose: bool) -> ContractCheck:
        found = private_imports(ROOT / str(self.source_package))
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["found"]:
            output.print_error(f"{line} is not public (xmppd/public_api.py)")
