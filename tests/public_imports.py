"""A contract for import-linter: plugins import what `xmppd.public_api` lists, and nothing else of the server."""

from __future__ import annotations

from typing import Any

from importlinter import Contract, ContractCheck, fields, output

from docs.plugin_api import ROOT, private_imports


class PublicImports(Contract):
    type_name = "public_imports"
    source_package = fields.StringField()

    def check(self, graph: Any, verbose: bool) -> ContractCheck:
        found = private_imports(ROOT / str(self.source_package))
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["found"]:
            output.print_error(f"{line} is not public (xmppd/public_api.py)")
