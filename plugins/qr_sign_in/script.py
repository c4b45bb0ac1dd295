"""What the page does: a plugin of Converse.js, by its public interface and the connection of strophe.js.

strophe speaks SASL as of RFC 6120 and knows no tokens. Where this page has one, its `authenticate` is replaced by
SASL2 with FAST (XEP-0388, XEP-0484); what comes behind it, binding or resuming, is strophe's and Converse's as ever.
"""

from __future__ import annotations

from typing import Final

PLUGIN: Final = "xmppd-qr-sign-in"
TEXT: Final = """const PLUGIN = "xmppd-qr-sign-in";
const ID = `${PLUGIN}-id`;
const NODE = "urn:xmppd:qr-sign-in";
const SASL2 = "urn:xmpp:sasl:2";
const FAST = "urn:xmpp:fast:0";
const DAY = 86400000;
const STYLE = `
converse-login-form { position: relative; display: block }
xmppd-qr-sign-in { display: block; text-align: center; margin: 1.5rem auto; max-width: 18rem }
xmppd-qr-sign-in h2 { font-size: 1.2rem } xmppd-qr-sign-in code { overflow-wrap: anywhere }
xmppd-qr-sign-in img { width: 100%; max-width: 15rem }
@media (min-width: 60rem) {
  xmppd-qr-sign-in { position: absolute; top: 0; left: calc(100% + 3rem); width: 15rem; margin: 0 }
}`;
const CODES = 5; // shown one after the other, then only if somebody asks
const LOST = ["not-authorized", "credentials-expired", "account-disabled", "invalid-mechanism"];

// ---- what this browser keeps: in localStorage if the device is trusted, else until the tab is closed

const stores = () => [sessionStorage, localStorage];
const kept = () => {
  for (const store of stores()) {
    try {
      const found = JSON.parse(store.getItem(PLUGIN));
      if (found?.token) return found;
    } catch { /* not ours */ }
  }
  return null;
};
const keep = (found, trusted) => {
  forget();
  (trusted ? localStorage : sessionStorage).setItem(PLUGIN, JSON.stringify(found));
  if (trusted) localStorage.setItem(ID, found.id);
};
const forget = () => stores().forEach((store) => store.removeItem(PLUGIN));
const replaceToken = (token) => {
  const store = stores().find((each) => each.getItem(PLUGIN) !== null);
  const found = kept();
  if (store && found) store.setItem(PLUGIN, JSON.stringify({ ...found, token, since: Date.now() }));
};
/** Which client this is (XEP-0388 section 2.3): the same for all sign-ins of a trusted browser. */
const installation = () => localStorage.getItem(ID) ?? crypto.randomUUID();

// ---- requests

const post = async (address, body, signal) => {
  const answer = await fetch(address, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
    cache: "no-store", credentials: "omit",
  });
  if (!answer.ok) throw Object.assign(new Error(`${answer.status}`), { status: answer.status });
  return answer.json();
};
const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

// ---- HT-SHA-256-NONE

const text = new TextEncoder();
const mac = async (token, word) => {
  const kind = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", text.encode(token), kind, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, text.encode(word)));
};
const base64 = (bytes) => btoa(String.fromCharCode(...bytes));
const element = (namespace, name, attributes = {}, ...inside) => {
  const found = document.createElementNS(namespace, name);
  found.setAttribute("xmlns", namespace); // strophe writes what stands there
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  found.append(...inside);
  return found;
};

const signInByToken = async (connection, Strophe) => {
  const found = kept();
  const failed = (why) => connection._changeConnectStatus(Strophe.Status.AUTHFAIL, why);
  if (!found) return failed("This browser was signed out.");
  const [proof, expected] = await Promise.all([mac(found.token, "Initiator"), mac(found.token, "Responder")]);
  if (!connection.connected) return;
  const name = text.encode(Strophe.getNodeFromJid(found.jid));
  const handlers = [];
  const over = () => handlers.splice(0).forEach((each) => connection.deleteHandler(each));
  const on = (handler, namespace, name) => {
    handlers.push(connection._addSysHandler(handler, namespace, name, null, null));
  };
  let proven = false;
  on((success) => {
    const data = success.getElementsByTagName("additional-data")[0]?.textContent;
    if (data !== base64(expected)) {
      over();
      failed("The server does not know this browser.");
      return false;
    }
    proven = true;
    const next = [...success.children].find((each) => each.namespaceURI === FAST && each.localName === "token");
    if (next) replaceToken(next.getAttribute("token"));
    return false;
  }, SASL2, "success");
  const features = (told) => {
    if (!proven) return true;
    proven = false;
    over();
    connection._onStreamFeaturesAfterSASL(told);
    return false;
  };
  on(features, null, "stream:features"); // over BOSH in the same answer as the success, so it is listened for now
  on(features, Strophe.NS.STREAM, "features");
  on((failure) => {
    over();
    const condition = failure.firstElementChild?.localName;
    if (LOST.includes(condition)) {
      if (kept()?.token === found.token) forget();
      failed("This browser was signed out. Sign in again, with the code or the password.");
    } else {
      connection.disconnect(condition);
    }
    return false;
  }, SASL2, "failure");
  const more = Date.now() - found.since > DAY
    ? [element(FAST, "request-token", { mechanism: found.mechanism })] : [];
  connection.send(element(SASL2, "authenticate", { mechanism: found.mechanism },
    element(SASL2, "initial-response", {}, base64([...name, 0, ...proof])),
    element(SASL2, "user-agent", { id: found.id },
      element(SASL2, "software", {}, found.software), element(SASL2, "device", {}, found.device)),
    element(FAST, "fast"), ...more));
};

// ---- in Converse.js

window.converse?.plugins.add(PLUGIN, {
  initialize() {
    if (!window.isSecureContext) return; // neither safe nor, without crypto.subtle, possible
    const { _converse } = this;
    const { api } = _converse;
    const { Strophe, html, stx } = window.converse.env;
    const { elements } = api;
    const { CONNECTED, CONNECTING, AUTHENTICATING, RECONNECTING } = Strophe.Status;
    const bare = (jid) => jid && Strophe.getBareJidFromJid(jid).toLowerCase();

    api.listen.on("connectionInitialized", () => {
      const connection = api.connection.get();
      const usual = connection.authenticate.bind(connection);
      connection.authenticate = (mechanisms) =>
        connection.pass?.byToken ? signInByToken(connection, Strophe) : usual(mechanisms);
    });

    // A page that is loaded anew: the account is that of the token.
    api.listen.on("login", async (_, payload) => {
      const found = kept();
      if (payload.success || payload.jid || payload.password || _converse.session.get("jid") || !found) return payload;
      await api.user.login(found.jid);
      return { ...payload, success: true };
    });
    api.listen.on("beforeAttemptNonPreboundSession", (_, payload) => {
      const found = kept();
      if (!found || payload.credentials || bare(_converse.session.get("jid")) !== found.jid) return payload;
      return { ...payload, credentials: { jid: found.jid, password: { byToken: true } } };
    });
    api.listen.on("beforeLogout", async () => {
      const found = kept();
      if (!found || bare(_converse.session.get("jid")) !== found.jid) return;
      forget();
      if (!api.connection.connected()) return;
      const stanza = stx`<iq type="set" to="${found.jid}" xmlns="jabber:client"><sign-out xmlns="${NODE}"/></iq>`;
      await api.sendIQ(stanza, 5000, false).catch(() => {});
    });

    elements.define("xmppd-qr-sign-in", class extends HTMLElement {
      connectedCallback() {
        this.over = new AbortController();
        this.show(this.over.signal);
      }

      /** The form around it is drawn anew when a sign-in begins. */
      disconnectedCallback() {
        this.over.abort();
      }

      async show(signal) {
        try {
          for (let number = 0; number < CODES && !signal.aborted; number++) {
            const waiting = await post("/qr-sign-in/code", {}, signal);
            this.draw(waiting);
            if (await this.answered(waiting, signal)) return;
          }
          this.rest("The code is not shown any more.", signal);
        } catch (error) {
          if (signal.aborted) return;
          const busy = [429, 503].includes(error.status);
          this.rest(busy ? "The server has too much to do for a code." : "There is no code at the moment.", signal);
        }
      }

      /** True: nothing more is to be shown. */
      async answered(waiting, signal) {
        const end = Date.now() + waiting.seconds * 1000, id = installation();
        while (Date.now() < end) {
          const found = await post("/qr-sign-in/answer", { secret: waiting.secret, id }, signal);
          if (found.state === "approved") {
            signIn(found, id, this.closest("converse-login-form")?.querySelector("[name=trusted]")?.checked ?? false);
            return true;
          }
          if (found.state === "refused") {
            this.rest("Your phone has said no.", signal);
            return true;
          }
          if (found.state === "gone") break;
          await pause(0.2);
        }
        return false;
      }

      draw({ code, uri, image }) {
        const picture = Object.assign(document.createElement("img"), {
          src: `data:image/svg+xml,${encodeURIComponent(image)}`, alt: "QR code for a phone that is signed in",
        });
        const link = Object.assign(document.createElement("a"), { href: uri });
        link.append("open it on this device");
        const said = Object.assign(document.createElement("code"), { textContent: code });
        this.fill(
          "h2", ["Sign in with your phone"], "p", [picture],
          "p", ["Read this with a chat app that is signed in, or ", link, ". Or choose the command “Sign in a ",
            "browser” there, and give it this code: ", said],
        );
      }

      rest(why, signal) {
        const again = document.createElement("button");
        Object.assign(again, { type: "button", className: "btn btn-secondary" });
        again.append("Show a code");
        again.addEventListener("click", () => this.show(signal), { once: true });
        this.fill("h2", ["Sign in with your phone"], "p", [why], "p", [again]);
      }

      fill(...parts) {
        const found = [];
        for (let place = 0; place < parts.length; place += 2) {
          const part = document.createElement(parts[place]);
          part.append(...parts[place + 1]);
          found.push(part);
        }
        this.replaceChildren(Object.assign(document.createElement("style"), { textContent: STYLE }), ...found);
      }
    });

    const signIn = (found, id, trusted) => {
      const { jid, token, mechanism, software, device } = found;
      keep({ jid, token, mechanism, software, device, id, since: Date.now() }, trusted);
      _converse.state.config.save({ trusted });
      api.connection.get()?.reset();
      api.user.login(jid);
    };

    const Form = elements.registry["converse-login-form"];
    elements.define("converse-login-form", class extends Form {
      render() {
        const status = _converse.state.connfeedback.get("connection_status");
        if ([CONNECTED, CONNECTING, AUTHENTICATING, RECONNECTING].includes(status)) return super.render();
        return html`${super.render()}<xmppd-qr-sign-in></xmppd-qr-sign-in>`;
      }
    });
  },
});
"""
