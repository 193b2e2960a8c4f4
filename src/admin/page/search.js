// Finds a partner by a part of its account; if the server has no search, among the waiting partners. Enter asks for
// exactly the typed account.

import { find } from "/api.js";
import { at, make, reconcile, say, show } from "/dom.js";
import { chipOf } from "/octopus.js";
import { meant, named, short } from "/words.js";

const PAUSE_MS = 150;
/** The server lets few search at once, and each of them waits. */
const AGAIN_MS = 1000;
const MOST = 12;

export class Search {
  #found = [];
  #chosen = -1;
  #asked = 0;
  #timer = 0;

  /** `open(account)` shows a partner, `waiting()` returns the rows of the waiting partners. */
  constructor(open, waiting) {
    this.open = open;
    this.waiting = waiting;
    const input = at("search-text");
    input.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#look(input.value.trim()), PAUSE_MS);
    });
    input.addEventListener("keydown", (event) => this.#key(event));
    at("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#go(this.#found[this.#chosen]?.account ?? meant(input.value.trim()));
    });
    at("search").addEventListener("focusout", (event) => at("search").contains(event.relatedTarget) || this.#list([]));
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest?.("input, textarea, select, dialog");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      input.focus();
      input.select();
    });
  }

  async #look(text) {
    this.#asked += 1;
    const asked = this.#asked;
    if (text === "") return this.#list([]);
    let found = null;
    let refused = null;
    try {
      const answer = await find(text);
      found = (Array.isArray(answer) ? answer : (answer.partners ?? [])).map((one) => (typeof one === "string" ? { account: one } : one));
    } catch (error) {
      refused = error;
    }
    const input = at("search-text");
    if (asked !== this.#asked || input.value.trim() !== text) return undefined;
    if (refused?.status === 503) this.#timer = setTimeout(() => document.activeElement === input && this.#look(input.value.trim()), AGAIN_MS);
    return this.#list(found ?? this.#among(text), text, refused);
  }

  #among(text) {
    const accounts = new Map(this.waiting().map((row) => [row.account, row]));
    const small = text.toLowerCase();
    return [...accounts.values()].filter((row) => row.account.toLowerCase().includes(small));
  }

  /** `refused` is why the server did not search, if it can. */
  #list(found, text = "", refused = null) {
    this.#found = found.slice(0, MOST);
    this.#chosen = -1;
    const list = at("search-found");
    const rows = this.#found.map((one, i) => ({ ...one, i }));
    const why = refused === null || refused.status === 404 ? "No account with this text is known" : `The server has not searched yet (${refused.message})`;
    if (text !== "" && rows.length === 0) rows.push({ none: `${why}. Enter asks for exactly “${short(text, 40)}”.`, account: "", i: -1 });
    reconcile(list, rows, (row) => row.account, () => this.#option(), (element, row) => {
      element.id = `found-${row.i}`;
      element.number = row.i;
      say(element.firstElementChild, row.none ?? short(named(row.account), 80));
      element.className = row.none ? "none" : "";
      show(element.lastElementChild, Boolean(row.state));
      if (row.state) chipOf(element.lastElementChild, row.state);
    });
    show(list, rows.length > 0);
    at("search-text").setAttribute("aria-expanded", String(rows.length > 0));
    this.#mark();
  }

  #option() {
    const option = make("li", {}, make("span"), make("span", { className: "chip" }));
    option.setAttribute("role", "option");
    // Otherwise the input would lose the focus at `mousedown`, and the list would be gone before the click.
    option.addEventListener("mousedown", (event) => event.preventDefault());
    option.addEventListener("click", () => this.#found[option.number] && this.#go(this.#found[option.number].account));
    return option;
  }

  #key(event) {
    if (event.key === "Escape") {
      at("search-text").value = "";
      this.#list([]);
      at("search-text").blur();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && this.#found.length > 0) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.#chosen = (this.#chosen + step + this.#found.length + (this.#chosen < 0 && step < 0 ? 1 : 0)) % this.#found.length;
      this.#mark();
    }
  }

  #mark() {
    for (const option of at("search-found").children) option.setAttribute("aria-selected", String(option.number === this.#chosen && this.#chosen >= 0));
    const chosen = this.#chosen >= 0 ? at(`found-${this.#chosen}`) : null;
    chosen?.scrollIntoView({ block: "nearest" });
    at("search-text").setAttribute("aria-activedescendant", chosen?.id ?? "");
  }

  #go(account) {
    if (account === "") return;
    clearTimeout(this.#timer);
    this.#asked += 1;
    this.#list([]);
    this.open(account);
  }
}
