// Strophe over BOSH, in a page of jsdom: `node strophe.mjs URL DOMAIN NAME PASSWORD ORIGIN [SESSION]`, then a command a
// line; each event is a line of JSON. ORIGIN is that of the page; SESSION is what it kept before it was loaded again.
// An XMLHttpRequest without responseXML (as xhr2) does not do: Strophe then parses the text of an answer, but drops it.
import { createInterface } from "node:readline";
import { JSDOM, VirtualConsole } from "jsdom";

const [service, domain, name, password, origin, kept] = process.argv.slice(2);
const KEPT = "strophe-bosh-session";
const WAIT = 2; // seconds
const tell = (...event) => console.log(JSON.stringify(event));

const { window } = new JSDOM("", { url: origin, virtualConsole: new VirtualConsole() });
for (const each of ["window", "document", "DOMParser", "XMLSerializer", "XMLHttpRequest", "sessionStorage"]) {
  Object.defineProperty(globalThis, each, { value: window[each] });
}
const { Strophe, $msg, $pres } = await import("./node_modules/strophe.js/dist/strophe.esm.js");
Strophe.setLogLevel(Strophe.LogLevel.WARN);
Strophe.TIMEOUT = 3; // times WAIT; the default is meant for a minute

const connection = new Strophe.Connection(service, { keepalive: true });
connection.rawOutput = (data) => tell("request", /rid="(\d+)"/.exec(data)[1]);
connection.xmlOutput = (body) => {
  const auth = body.querySelector("auth");
  if (auth) tell("mechanism", auth.getAttribute("mechanism"));
};
connection.xmlInput = (body) => tell("answer", body.childElementCount);
const statuses = Object.fromEntries(Object.entries(Strophe.Status).map(([word, number]) => [number, word]));
const changed = (status, condition) => {
  tell("status", statuses[status], condition ?? "");
  if (status === Strophe.Status.CONNECTED || status === Strophe.Status.ATTACHED) {
    const heard = (message) => {
      const body = [...message.children].find((child) => child.localName === "body");
      if (body) tell("message", message.getAttribute("from"), body.textContent);
      return true; // keep this handler
    };
    connection.addHandler(heard, null, "message");
    if (status === Strophe.Status.CONNECTED) connection.send($pres());
    tell("online", connection.jid);
  }
};

const commands = {
  say: (to, text) => connection.send($msg({ type: "chat", to, id: text }).c("body").t(text)),
  appear: (to) => connection.send($pres({ to })),
  leave: () => {
    tell("session", window.sessionStorage.getItem(KEPT));
    process.exit(0);
  },
  end: () => {
    connection.connect_callback = (status) => {
      if (status === Strophe.Status.DISCONNECTED) process.exit(0);
    };
    connection.disconnect();
  },
};
createInterface({ input: process.stdin }).on("line", (line) => {
  const [command, ...parameters] = JSON.parse(line);
  try {
    commands[command](...parameters);
  } catch (error) {
    tell("refused", command, String(error));
  }
});
if (kept) {
  window.sessionStorage.setItem(KEPT, kept);
  connection.restore(`${name}@${domain}`, changed, WAIT);
} else {
  connection.connect(`${name}@${domain}/Strophe`, password, changed, WAIT);
}
