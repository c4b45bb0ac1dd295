"""OpenLDAP as a process of its own: a folder, free ports, a few people."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from xmppd.net.tls import make_self_signed

BASE = "dc=example,dc=org"
PEOPLE = f"ou=people,{BASE}"
READER = f"cn=reader,{BASE}"
READER_PASSWORD = "reads only"
ROOT = f"cn=root,{BASE}"
ROOT_PASSWORD = "all of it"

CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {folder}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {folder}/tls.crt
TLSCertificateKeyFile {folder}/tls.key
# As some directories do: a name without a password is let in, as nobody.
allow bind_anon_cred bind_anon_dn
database mdb
suffix "{base}"
rootdn "{root}"
rootpw "{root_password}"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by self read by * none
"""


def person(uid: str, password: str, more: str = "") -> str:
    return (
        f"dn: uid={uid},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid.title()} of Verona\nsn: {uid}\n"
        f"mail: {uid}@example.org\nuserPassword: {password}\n{more}\n"
    )


LDIF = f"""dn: {BASE}
objectClass: dcObject
objectClass: organization
o: Verona
dc: example

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{BASE}
objectClass: organizationalUnit
ou: groups

dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {READER_PASSWORD}

{person("romeo", "pencil")}
{person("juliet", "rapier")}
{person("tybalt", "cats", "employeeType: gone")}
dn: cn=montagues,ou=groups,{BASE}
objectClass: groupOfNames
cn: montagues
member: uid=romeo,{PEOPLE}
"""


def installed() -> bool:
    return _program("slapd") is not None


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Slapd:
    def __init__(self, folder: Path, name: str = "localhost") -> None:
        self.folder = folder
        self.port, self.tls_port = _port(), _port()
        self.certificate = folder / "tls.crt"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir(parents=True)
        make_self_signed([name], self.certificate, folder / "tls.key")
        self._config = folder / "slapd.conf"
        self._config.write_text(
            CONFIG.format(folder=folder, base=BASE, root=ROOT, root_password=ROOT_PASSWORD, reader=READER)
        )
        ldif = folder / "people.ldif"
        ldif.write_text(LDIF)
        subprocess.run(
            [str(_program("slapadd")), "-f", str(self._config), "-l", str(ldif)],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip

    @property
    def plain(self) -> str:
        return f"ldap://localhost:{self.port}"

    @property
    def encrypted(self) -> str:
        return f"ldaps://localhost:{self.tls_port}"

    def start(self) -> Slapd:
        addresses = f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.tls_port}"
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [str(_program("slapd")), "-d", "0", "-f", str(self._config), "-h", addresses], stdout=log, stderr=log
        )
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.tls_port), 1).close()
                return self
            except OSError:
                assert self._process.poll() is None and time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self.stall(False)
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def stall(self, still: bool) -> None:
        """It takes connections, and says nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP if still else signal.SIGCONT)

    def change(self, work: str, *args: object) -> None:
        """One operation of the administrator: `add`, `delete` or `modify` of ldap3."""
        import ldap3

        server = ldap3.Server("127.0.0.1", self.port, get_info=ldap3.NONE)
        with ldap3.Connection(server, ROOT, ROOT_PASSWORD) as connection:
            assert getattr(connection, work)(*args), connection.result
