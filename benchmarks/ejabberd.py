"""The other peer: ejabberd as Debian packages it.

With erlang-p1-sqlite3 its archives are in SQLite, as ours are; else on Mnesia, its default, where an entry costs the
more the more there are of an account.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import yaml

from .client import PASSWORD
from .servers import START_WITHIN, Server, ServerError, packaged


class Ejabberd(Server):
    """Run without its script and without a node name, so no epmd stays behind. What is not an archive is in Mnesia."""

    name = "ejabberd"

    @staticmethod
    def installed() -> str:
        version = packaged("ejabberd", "erl")
        return f"{version} ({'SQLite' if _sqlite() else 'Mnesia'})" if version else ""

    async def prepare(self) -> None:
        (self.folder / "server.pem").write_bytes(self.chain.read_bytes() + self.key.read_bytes())
        listen = {"ip": "127.0.0.1", "module": "ejabberd_c2s", "max_stanza_size": 1 << 20, "shaper": "none"}
        settings: dict[str, Any] = {
            "hosts": [self.domain],
            "loglevel": "error",
            "certfiles": [str(self.folder / "server.pem")],
            "listen": [{**listen, "port": self.port}, {**listen, "port": self.tls_port, "tls": True}],
            **({"s2s_access": "none"} if self.federation is None else {"s2s_use_starttls": "required"}),
            **({"sql_type": "sqlite", "sql_database": str(self.folder / "archive.db")} if _sqlite() else {}),
            "auth_method": "internal",
            "auth_password_format": "scram",
            "auth_scram_hash": "sha256",
            "shaper_rules": {"offline_messages": "infinity"},
            "modules": _modules(self.rooms),
        }
        if self.federation is not None:
            listening = {"ip": "127.0.0.1", "port": self.server_port, "module": "ejabberd_s2s_in", "shaper": "none"}
            settings["listen"].append(listening)
            settings["ca_file"] = str(self.roots)
            # No /etc/resolv.conf, and names of the benchmark only.
            (self.folder / "inetrc").write_text(
                '{resolv_conf, ""}.\n{hosts_file, ""}.\n{lookup, [dns]}.\n'
                f"{{nameserver, {{127,0,0,1}}, {self.federation.numeric.port}}}.\n"
            )
        (self.folder / "ejabberd.yml").write_text(yaml.safe_dump(settings))

    async def launch(self) -> None:
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        await super().launch()
        deadline = time.monotonic() + START_WITHIN + self.accounts / 50
        while not ready.exists():
            if time.monotonic() > deadline:
                raise ServerError(f"the accounts were not made\n{self._log_end()}")
            await asyncio.sleep(0.1)

    def command(self) -> list[str]:
        make = (
            'lists:foreach(fun(N) -> ejabberd_auth:try_register(<<"u", (integer_to_binary(N))/binary>>, '
            f'<<"{self.domain}">>, <<"{PASSWORD}">>) end, lists:seq(0, {self.accounts - 1})), '
            f'ok = file:write_file("{self.folder}/ready", <<>>).'
        )
        mnesia = ["-mnesia", "dir", f'"{self.folder}/db"']
        return ["erl", "-noinput", "+K", "true", "+P", "250000", *mnesia, "-s", "ejabberd", "-eval", make]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ERL_LIBS": ":".join(map(str, Path("/usr/lib").glob("*-linux-gnu"))),
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "ERL_CRASH_DUMP_BYTES": "0",
            "HOME": str(self.folder),
            **({"ERL_INETRC": str(self.folder / "inetrc")} if self.federation is not None else {}),
        }


def _sqlite() -> bool:
    return bool(packaged("erlang-p1-sqlite3"))


def _modules(rooms: str) -> dict[str, Any]:
    """Those for what the cases ask of Prosody."""
    plain = ["adhoc", "blocking", "caps", "carboncopy", "client_state", "disco", "last", "ping", "privacy", "private"]
    plain += ["roster", "stream_mgmt", "time", "vcard", "version"]
    return {
        **{f"mod_{name}": {} for name in plain},
        "mod_mam": {"db_type": "sql" if _sqlite() else "mnesia", "default": "always", "assume_mam_usage": True},
        "mod_offline": {"access_max_user_messages": "offline_messages", "store_empty_body": False},
        "mod_pubsub": {"plugins": ["flat", "pep"], "last_item_cache": False},
        "mod_muc": {
            "host": rooms,
            "max_users": 5000,
            "default_room_options": {"mam": True, "persistent": False},
        },
    }
