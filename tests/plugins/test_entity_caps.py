"""XEP-0115."""

from __future__ import annotations

from plugins.entity_caps import verification
from tests.harness import Harness, condition
from xmppd.xml import parse

CAPS = "{http://jabber.org/protocol/caps}c"
INFO = "http://jabber.org/protocol/disco#info"


def test_simple_example_of_section_5_2() -> None:
    info = f"""<query xmlns='{INFO}'>
      <identity category='client' name='Exodus 0.9.1' type='pc'/>
      <feature var='http://jabber.org/protocol/muc'/><feature var='http://jabber.org/protocol/disco#items'/>
      <feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/caps'/>
    </query>"""
    assert verification(parse(info.encode())) == "QgayPKawpkPSDYmwT/WM94uAlu0="


def test_complex_example_of_section_5_3() -> None:
    info = f"""<query xmlns='{INFO}'>
      <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>
      <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>
      <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>
      <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>
      <x xmlns='jabber:x:data' type='result'>
        <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
        <field var='ip_version' type='text-multi'><value>ipv4</value><value>ipv6</value></field>
        <field var='os'><value>Mac</value></field>
        <field var='os_version'><value>10.5.1</value></field>
        <field var='software'><value>Psi</value></field>
        <field var='software_version'><value>0.11</value></field>
      </x>
    </query>"""
    assert verification(parse(info.encode())) == "q07IKJEyjvHSyhy//CH0CxmKi8w="


async def test_the_server_shows_its_own(server: Harness) -> None:
    romeo = await server.login("romeo")
    caps = romeo.features.find(CAPS)
    assert caps is not None and caps.get("hash") == "sha-1"
    node = f"{caps.get('node')}#{caps.get('ver')}"
    answer = await romeo.iq(f"<query xmlns='{INFO}' node='{node}'/>", to="localhost")
    assert answer.get("type") == "result" and answer[0].get("node") == node
    assert verification(answer[0]) == caps.get("ver")
    wrong = f"<query xmlns='{INFO}' node='{caps.get('node')}#other'/>"
    assert condition(await romeo.iq(wrong, to="localhost")) == "item-not-found"


async def test_strangers_are_not_told(server: Harness) -> None:
    client = server.connect()
    client.open()
    assert (await client.receive()).find(CAPS) is None
