// xmpp.js over WebSocket: `node xmpp.mjs URL DOMAIN NAME PASSWORD`, then a command a line; each event is a line of JSON.
import { createInterface } from "node:readline";
import { client, xml } from "@xmpp/client";

const [service, domain, username, password] = process.argv.slice(2);
const tell = (...event) => console.log(JSON.stringify(event));

const xmpp = client({ service, domain, username, password, resource: "xmpp.js" });
xmpp.on("online", (jid) => {
  xmpp.send(xml("presence"));
  tell("online", jid.toString());
});
xmpp.on("error", (error) => tell("error", error.name, error.message));
xmpp.on("disconnect", () => tell("disconnected"));
xmpp.on("stanza", (stanza) => {
  if (stanza.is("message") && stanza.getChildText("body")) {
    tell("message", stanza.attrs.from, stanza.getChildText("body"));
  }
});
xmpp.on("nonza", (nonza) => {
  if (nonza.is("authenticate") || nonza.is("auth")) tell("mechanism", nonza.attrs.mechanism);
});
xmpp.on("send", (element) => {
  if (element.is("authenticate") || element.is("auth")) tell("mechanism", element.name, element.attrs.mechanism);
});
xmpp.streamManagement.on("resumed", () => tell("resumed"));
xmpp.streamManagement.on("fail", () => tell("not acknowledged"));

const commands = {
  say: (to, text) => xmpp.send(xml("message", { type: "chat", to, id: text }, xml("body", {}, text))),
  end: async () => {
    await xmpp.stop();
    process.exit(0);
  },
};
createInterface({ input: process.stdin }).on("line", async (line) => {
  const [name, ...parameters] = JSON.parse(line);
  try {
    await commands[name](...parameters);
  } catch (error) {
    tell("refused", name, String(error));
  }
});
xmpp.start().catch((error) => tell("failed", String(error)));
