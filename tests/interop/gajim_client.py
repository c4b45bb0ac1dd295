#!/usr/bin/python3
"""A client on nbxmpp, Gajim's library; runs under the system's Python (GLib). Usage: gajim_client.py JSON

Reads commands, a JSON list a line, on standard input; writes what happens, a JSON list a line, on standard output.
"""

import json
import os
import sys

from gi.repository import Gio, GLib
from nbxmpp.client import Client
from nbxmpp.const import ConnectionProtocol, ConnectionType, Mode
from nbxmpp.errors import StanzaError
from nbxmpp.http import HTTPSession
from nbxmpp.namespaces import Namespace
from nbxmpp.protocol import JID, Iq, Message, Presence
from nbxmpp.structs import BookmarkData, StanzaHandler

DIRECT = {"direct": ConnectionType.DIRECT_TLS, "starttls": ConnectionType.START_TLS}


def tell(*what):
    print(json.dumps(what), flush=True)


class Gajim:
    def __init__(self, jid, password, port, tls, mechanism, certificate):
        self.client = client = Client(log_context="test")
        self.jid = JID.from_string(jid)
        client.set_domain(self.jid.domain)
        client.set_username(self.jid.localpart)
        client.set_resource("gajim")
        client.set_password(password)
        client.set_mechs([mechanism])
        client.set_custom_host(f"127.0.0.1:{port}", ConnectionProtocol.TCP, DIRECT[tls])
        with open(certificate) as file:
            pem = file.read()
        client.set_accepted_certificates([Gio.TlsCertificate.new_from_pem(pem, -1)])
        for signal in ("connected", "disconnected", "connection-failed", "resume-failed", "resume-successful"):
            client.subscribe(signal, self.signal)
        self.web = HTTPSession()
        self.web.get_soup_session().set_tls_database(Gio.TlsFileDatabase.new(certificate))  # for the system's
        client.register_handler(StanzaHandler(name="message", callback=self.message))
        client.register_handler(StanzaHandler(name="presence", callback=self.presence))

    def signal(self, client, name, *rest):
        tell(name, [str(part) for part in client.get_error() if part])

    def message(self, _client, stanza, properties):
        if properties.is_mam_message:
            tell("archived", properties.body)
        elif properties.body:
            tell("message", str(properties.jid), properties.body, properties.type.value)

    def presence(self, _client, stanza, properties):
        self_presence = bool(properties.is_muc_self_presence)
        kind = properties.type.value or "available"
        tell("presence", str(properties.jid), kind, self_presence)

    # ---- commands

    def connect(self):
        self.client.connect()

    # ---- registration

    def visit(self):
        """As a stranger; the stream is not signed in."""
        self.client.set_mode(Mode.REGISTER)
        self.client.connect()

    def show(self, token):
        """XEP-0445, of which nbxmpp 4.2 knows nothing."""
        shown = Iq("set", to=self.jid.domain)
        shown.addChild("preauth", namespace="urn:xmpp:pars:0", attrs={"token": token})
        self.client.send_stanza(shown, callback=lambda _client, answer: tell("shown", answer.getError()))

    def ask_form(self):
        self.client.get_module("Register").request_register_form(callback=self.got_form)

    def got_form(self, task):
        try:
            found = task.finish()
        except StanzaError as error:
            tell("form", error.condition)
            return
        self.form = found.form or found.fields_form
        picture = found.bob_data.data.hex() if found.bob_data is not None else None
        tell("form", None, [field.var for field in self.form.iter_fields()], picture)

    def fill(self, values):
        for name, value in values.items():
            self.form.vars[name].value = value
        self.form.type_ = "submit"
        self.client.get_module("Register").submit_register_form(self.form, callback=self.filled)

    def filled(self, task):
        try:
            task.finish()
            tell("registered", None)
        except StanzaError as error:
            tell("registered", error.condition)

    # ---- what who is signed in does

    def roster(self):
        self.client.get_module("Roster").request_roster(callback=self.got_roster)

    def got_roster(self, task):
        result = task.finish()
        tell("roster", {str(item.jid): [item.name, item.subscription] for item in result.items or []})

    def add(self, jid, name):
        self.client.get_module("Roster").set_item(JID.from_string(jid), name, callback=self.added)

    def added(self, task):
        task.finish()
        tell("added")

    def available(self):
        self.client.send_stanza(Presence())

    def subscription(self, jid, kind):
        self.client.send_stanza(Presence(to=jid, typ=kind))

    def say(self, jid, text, kind="chat"):
        self.client.send_stanza(Message(to=jid, body=text, typ=kind))

    def join(self, room, nick):
        presence = Presence(to=f"{room}/{nick}")
        presence.addChild("x", namespace=Namespace.MUC)
        self.client.send_stanza(presence)

    def history(self):
        """All of it, as Gajim asks (make_query's `with_` does not work in 4.2)."""
        self.client.get_module("MAM").make_query(
            self.jid.new_as_bare(), queryid="all", max_=50, callback=self.got_history
        )

    def got_history(self, task):
        tell("history", bool(task.finish().complete))

    def avatar(self, jid):
        """Metadata, then the picture."""
        self.wanted = JID.from_string(jid)
        self.client.get_module("UserAvatar").request_avatar_metadata(self.wanted, callback=self.got_metadata)

    def got_metadata(self, task):
        try:
            found = task.finish()
        except Exception as error:
            tell("avatar", repr(error))
            return
        if found is None:
            tell("avatar", None)
            return
        self.client.get_module("UserAvatar").request_avatar_data(found.default, self.wanted, callback=self.got_picture)

    def got_picture(self, task):
        tell("avatar", task.finish().data.hex())

    def upload(self, service, name, type, content):
        """As Gajim's module for XEP-0363: a slot whose addresses have no TLS is not taken."""
        self.content, self.type = bytes.fromhex(content), type
        module = self.client.get_module("HTTPUpload")
        module.request_slot(JID.from_string(service), name, len(self.content), type, callback=self.got_slot)

    def got_slot(self, task):
        slot = task.finish()
        if not (slot.put_uri.startswith("https:") and slot.get_uri.startswith("https:")):
            tell("unsecure", slot.put_uri, slot.get_uri)
            return
        request = self.web.create_request()
        for name, value in slot.headers.items():
            request.get_request_headers().append(name, value)
        request.set_request_body(self.type, self.content)
        request.send("PUT", slot.put_uri, callback=lambda request: tell("put", int(request.get_status()), slot.get_uri))

    def fetch(self, address):
        """A preview: the head first, as Gajim does, which asks for the size and the type."""
        head = self.web.create_request()
        head.send("HEAD", address, callback=lambda request: self.got_head(request, address))

    def got_head(self, head, address):
        self.size = head.get_response_headers().get_content_length()
        request = self.web.create_request()
        request.send("GET", address, callback=self.got_file)

    def got_file(self, request):
        data = request.get_data()
        headers = request.get_response_headers()
        tell("file", int(request.get_status()), headers.get_one("content-type"), self.size, data.hex())

    def bookmark(self, room, name):
        bookmark = BookmarkData(jid=JID.from_string(room), name=name, autojoin=True, nick="Romeo")
        module = self.client.get_module("NativeBookmarks")
        module.store_bookmarks([bookmark], callback=lambda task: tell("bookmarked", bool(task.finish())))

    def bookmarks(self):
        module = self.client.get_module("NativeBookmarks")
        module.request_bookmarks(callback=self.got_bookmarks)

    def got_bookmarks(self, task):
        tell("bookmarks", {str(each.jid): [each.name, each.autojoin] for each in task.finish()})

    def cut(self):
        """The connection breaks; the session does not."""
        self.client.disconnect(immediate=True)

    def quit(self):
        self.client.disconnect()
        GLib.timeout_add(500, loop.quit)


rest = bytearray()
"""What was read of a line that is not whole yet."""


def read(descriptor, _condition):
    data = os.read(descriptor, 65536)
    if not data:
        loop.quit()
        return False
    rest.extend(data)
    *lines, left = rest.split(b"\n")
    rest[:] = left
    for line in lines:
        name, *arguments = json.loads(line)
        getattr(gajim, name)(*arguments)
    return True


loop = GLib.MainLoop()
gajim = Gajim(*json.loads(sys.argv[1]))
GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, 0, GLib.IOCondition.IN | GLib.IOCondition.HUP, read)
loop.run()
