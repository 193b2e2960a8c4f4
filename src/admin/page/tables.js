// The tables: partners that wait longest, queues, dead letters.

import { at, make, reconcile, row as tableRow, say, show } from "/dom.js";
import { NOTICED_S, chipOf } from "/octopus.js";
import { held } from "/rates.js";
import { because, change, count, dollars, duration, isParking, named, rate, several, share, short, stateName, troubles } from "/words.js";

/** The number of rows shown before "show all" is pressed. */
const FEW = 12;

const QUEUE_CELLS = ["In /s", "Handled /s", "Delivered /s", "Held", "Oldest", "Returned", "Dead", "Leases lost", "Requests a message", "Empty receives", "$ a day"];

let all = false;

export function waiting(status, chosen, open) {
  const rows = status.waiting ?? [];
  const noticed = rows.filter((row) => row.state !== "healthy" || row.oldest_age_s >= NOTICED_S);
  const wanted = chosen ? rows.filter((row) => row.state === chosen) : noticed;
  const shown = all ? wanted : wanted.slice(0, FEW);
  reconcile(at("waiting-rows"), shown, (row) => JSON.stringify([row.account, row.queue]), () => waitingRow(open), fillWaiting);
  show(at("waiting-table"), shown.length > 0);
  show(at("waiting-none"), shown.length === 0);
  say(at("waiting-none"), chosen ? `None of those that have waited longest is ${stateName(chosen)}.` : "Nobody has waited for a second or more.");
  say(at("waiting-summary"), summary(status.partners ?? {}, rows, noticed, chosen));
  const more = at("waiting-more");
  show(more, wanted.length > FEW);
  say(more, all ? `Show ${FEW}` : `Show all ${wanted.length}`);
  more.setAttribute("aria-expanded", String(all));
}

/** Calls `redraw()` when the reader wants more or fewer rows. */
export function watchMore(redraw) {
  at("waiting-more").addEventListener("click", () => {
    all = !all;
    redraw();
  });
}

function summary(partners, rows, noticed, chosen) {
  if (chosen) return `Only those in state “${stateName(chosen)}”, of the ${count(rows.length)} rows that have waited longest. Press the state again for all.`;
  const brief = rows.length - noticed.length;
  const listed = partners.waiting > 0 ? `Something waits for ${several(partners.waiting, "partner", "partners")}` : "Nothing waits";
  return brief > 0 ? `${listed}; ${several(brief, "row that is", "rows that are")} well and younger than a second ${brief === 1 ? "is" : "are"} left out.` : `${listed}.`;
}

function waitingRow(open) {
  const name = make("button", { type: "button", className: "link" });
  const cells = [["", ""], ["Waiting", "number"], ["Oldest", "number"], ["Next attempt", "number"], ["Why", ""], ["Last error", "error"]];
  const row = tableRow([name, make("small")], cells);
  row.children[1].append(make("span", { className: "chip" }));
  row.children[2].append(make("span"), make("small"));
  row.children[6].append(make("span"));
  name.addEventListener("click", () => open(name.account));
  return row;
}

function fillWaiting(element, row) {
  const [head, state, waits, oldest, next, why, error] = element.children;
  const [name, queue] = head.children;
  name.account = row.account;
  name.title = named(row.account);
  say(name, short(named(row.account), 80));
  say(queue, row.queue);
  chipOf(state.firstElementChild, row.state);
  const elsewhere = [[row.in_flight, "on the wire"], [row.parked, "parked"]].filter(([number]) => number > 0).map(([number, where]) => `+${count(number)} ${where}`);
  say(waits.firstElementChild, count(row.waiting));
  say(waits.lastElementChild, elsewhere.join(", "));
  show(waits.lastElementChild, elsewhere.length > 0);
  say(oldest, duration(row.oldest_age_s));
  say(next, Number.isFinite(row.next_attempt_in_s) ? `in ${duration(row.next_attempt_in_s)}` : "–");
  next.classList.toggle("none", !Number.isFinite(row.next_attempt_in_s));
  say(why, because(row));
  say(error.firstElementChild, row.last_error ? short(row.last_error) : "–");
  error.classList.toggle("none", !row.last_error);
  error.title = row.last_error ? short(row.last_error, 1000) : "";
}

/** Each returns the server's figure, or computes it from the counters if the server sends none. */
const requestsEach = (queue) => queue.requests_per_message ?? (queue.received > 0 ? queue.requests / queue.received : NaN);
const emptyShare = (queue) => (Number.isFinite(queue.empty_receive_share) ? share(queue.empty_receive_share, 1) : share(queue.empty_receives, queue.requests));

export function queues(status, rates) {
  const rows = status.queues ?? [];
  reconcile(at("queue-rows"), rows, (queue) => queue.name,
    () => tableRow([make("span"), make("small"), make("small", { className: "change" }), make("small", { className: "error" })], QUEUE_CELLS.map((label) => [label, "number"])),
    (element, queue) => {
      const [head, ...cells] = element.children;
      const [name, source, changing, failing] = head.children;
      say(name, queue.name);
      const parked = queue.parked_now > 0 ? `, ${count(queue.parked_now)} parked` : "";
      say(source, (isParking(queue) ? `on disk, in ${queue.source}` : queue.handler ? `${queue.source} → ${queue.handler}` : queue.source) + parked);
      say(changing, change(queue));
      show(changing, change(queue) !== "");
      say(failing, short(troubles(queue), 300));
      show(failing, troubles(queue) !== "");
      const texts = [
        rate(rates.queue(queue.name, "received")), rate(rates.queue(queue.name, "handled")), rate(rates.queue(queue.name, "delivered")),
        count(held(queue)), queue.oldest_age_s === null ? "–" : duration(queue.oldest_age_s), count(queue.returned), count(queue.dead), count(queue.leases_lost),
        Number.isFinite(requestsEach(queue)) ? requestsEach(queue).toFixed(2) : "–", emptyShare(queue), dollars(queue.dollars_a_day),
      ];
      texts.forEach((text, i) => say(cells[i], text));
      cells[6].classList.toggle("bad", queue.dead > 0);
      cells[7].classList.toggle("bad", queue.leases_lost > 0);
    });
  show(at("queues-none"), rows.length === 0);
  show(at("price-note"), rows.some((queue) => Number.isFinite(queue.dollars_a_day)));
  say(at("price-note"), "$ a day: an estimate from the requests since the start, at AWS's list price.");
}

/** `listed` is the answer of `/api/dead`, or `null` if the server has none. */
export function dead(listed, status, problem) {
  const rows = listed ?? [];
  const total = (status.queues ?? []).reduce((sum, queue) => sum + (queue.dead ?? 0), 0);
  reconcile(at("dead-rows"), rows, (row) => JSON.stringify([row.queue, row.reason]),
    () => tableRow([], [["", "reason"], ["", "number"]]),
    (element, row) => {
      const [queue, reason, number] = element.children;
      say(queue, row.queue);
      say(reason, short(row.reason));
      reason.title = row.reason;
      say(number, count(row.count));
    });
  show(at("dead-table"), rows.length > 0);
  say(at("dead-empty"), problem ?? (listed === null ? `This instance does not tell reasons here; ${several(total, "message was", "messages were")} set aside since its start. On a terminal: octoconf dead list QUEUE`
    : rows.length === 0 ? "No dead letters." : "octoconf dead list QUEUE shows them, octoconf dead redrive QUEUE sends them again."));
}
