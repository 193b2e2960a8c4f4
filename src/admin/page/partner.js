// Shows one partner in full: why it waits, and what an operator may do about it. Also asks for the token.

import { Refused, act, hasToken, partner as ask, useToken } from "/api.js";
import { at, make, reconcile, row as tableRow, say, show } from "/dom.js";
import { chipOf } from "/octopus.js";
import { because, count, duration, named, short, stateName } from "/words.js";

const DONE = { pause: "Paused.", resume: "Resumed.", flush: "What waits is sent now.", skip: "The head was set aside as a dead letter." };

export class Partner {
  #account = null;
  /** The number of the latest request. Answers may overtake each other, and only the answer to the latest counts. */
  #asked = 0;

  constructor() {
    const dialog = at("partner");
    at("partner-close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => this.#closed());
    // The dialog's own content fills its box, so a click outside of the box is on the backdrop.
    dialog.addEventListener("click", (event) => event.target === dialog && outside(dialog, event) && dialog.close());
    for (const button of at("partner-actions").children) button.addEventListener("click", () => this.#press(button.dataset.action));
    at("confirm-yes").addEventListener("click", () => this.#confirmed(true));
    at("confirm-no").addEventListener("click", () => this.#confirmed(false));
    watchToken();
    window.addEventListener("hashchange", () => this.follow());
  }

  /** Shows the partner. The page's address then names it, and can be kept and sent. */
  open(account) {
    const hash = `#partner=${encodeURIComponent(account)}`;
    if (location.hash === hash) this.follow();
    else location.hash = hash;
  }

  /** Shows the partner that the page's address names. */
  follow() {
    const wanted = addressed();
    if (wanted === null) return at("partner").open ? at("partner").close() : undefined;
    this.#account = wanted;
    say(at("partner-name"), named(this.#account));
    show(at("partner-state"), false);
    paragraphs([{ text: "Asking…" }]);
    show(at("partner-queues"), false);
    this.#confirmed(null);
    this.#result("");
    if (!at("partner").open) at("partner").showModal();
    return this.refresh();
  }

  /** Requests the partner again. Does nothing while no partner is shown. */
  async refresh() {
    if (this.#account === null) return;
    this.#asked += 1;
    const asked = this.#asked;
    try {
      const partner = await ask(this.#account);
      if (asked === this.#asked) this.#fill(partner);
    } catch (error) {
      if (asked === this.#asked) this.#unknown(error);
    }
  }

  #fill(partner) {
    chipOf(at("partner-state"), partner.state);
    show(at("partner-state"), true);
    // The server explains it in sentences, the same that `octoconf why` prints.
    paragraphs((partner.why ?? [partner.reason]).map((text) => ({ text: short(text, 2000), error: text.startsWith("The last error:") })));
    const rows = partner.queues ?? [];
    show(at("partner-queues"), rows.length > 0);
    reconcile(at("partner-rows"), rows, (row) => row.queue,
      () => tableRow([], [["State", ""], ["Waiting", "number"], ["On the wire", "number"], ["Oldest", "number"], ["Why", ""]]),
      (element, row) => {
        const parked = row.parked > 0 ? ` (+${count(row.parked)} parked)` : "";
        const texts = [row.queue, stateName(row.state), count(row.waiting) + parked, count(row.in_flight), row.oldest_age_s === null ? "–" : duration(row.oldest_age_s),
          because(row)];
        texts.forEach((text, i) => say(element.children[i], text));
      });
  }

  #unknown(error) {
    show(at("partner-state"), false);
    show(at("partner-queues"), false);
    const unknown = error.status === 404;
    paragraphs([{ text: unknown ? "Nothing is known of this account: nothing waits for it, nothing is on the wire, and nothing about it had to be remembered. It may be paused all the same." : sentence(error), error: !unknown }]);
  }

  #press(action) {
    if (action === "skip") {
      show(at("partner-confirm"), true);
      at("confirm-no").focus();
    } else {
      this.#do(action);
    }
  }

  #confirmed(yes) {
    show(at("partner-confirm"), false);
    if (yes !== null) at("partner-actions").querySelector("[data-action=skip]").focus();
    if (yes) this.#do("skip");
  }

  async #do(action) {
    const account = this.#account;
    if (!hasToken() && !(await askForToken())) return this.#result("Nothing was done: this needs the token.", true);
    this.#busy(true);
    this.#result("…");
    try {
      await act(account, action);
      if (account === this.#account) this.#result(DONE[action]);
    } catch (error) {
      if (error.status === 401) useToken("");
      if (account === this.#account) this.#result(`Not done: ${sentence(error)}`, true);
    } finally {
      this.#busy(false);
    }
    return this.refresh();
  }

  #busy(busy) {
    // The property `disabled` would take the focus away.
    for (const button of at("partner-actions").children) button.setAttribute("aria-disabled", String(busy));
  }

  #result(text, bad = false) {
    say(at("partner-result"), text);
    at("partner-result").classList.toggle("bad", bad);
  }

  #closed() {
    // This event comes late: another partner may be open by now, or be named by the address and shown next.
    if (at("partner").open) return;
    const closed = this.#account;
    this.#account = null;
    this.#asked += 1;
    if (addressed() === closed && closed !== null) history.replaceState(null, "", location.pathname + location.search);
  }
}

/** Returns the account that the page's address names, or null. */
function addressed() {
  const wanted = location.hash.match(/^#partner=(.*)$/s);
  if (!wanted) return null;
  try {
    return decodeURIComponent(wanted[1]);
  } catch {
    return wanted[1];
  }
}

/** Returns the server's message, with a hint if the status has one. */
export function sentence(error) {
  if (!(error instanceof Refused)) return String(error);
  const hints = { 401: "the token is missing or wrong; press the button again to enter it.", 403: "this instance has no [admin] token, so it takes no actions." };
  return hints[error.status] ? `${error.message} – ${hints[error.status]}` : error.message;
}

function paragraphs(list) {
  reconcile(at("partner-why"), list.map((one, i) => ({ ...one, i })), (one) => one.i, () => make("p"), (element, one) => {
    say(element, one.text);
    element.className = one.error ? "error" : "";
  });
}

function outside(dialog, event) {
  const box = dialog.getBoundingClientRect();
  return event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
}

let answered = null;

/** Asks for the token. Resolves to whether there is a token afterwards. */
export function askForToken() {
  at("token-text").value = "";
  show(at("token-forget"), hasToken());
  at("token-dialog").showModal();
  return new Promise((resolve) => {
    answered = resolve;
  });
}

function watchToken() {
  const dialog = at("token-dialog");
  at("token-form").addEventListener("submit", () => at("token-text").value && useToken(at("token-text").value.trim()));
  at("token-forget").addEventListener("click", () => {
    useToken("");
    dialog.close();
  });
  at("token-cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    at("token-text").value = "";
    answered?.(hasToken());
    answered = null;
    dialog.dispatchEvent(new Event("token"));
  });
}
