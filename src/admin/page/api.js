// Talks to the server. No other script does, and no other script knows the token.

const KEPT = "octoconf-token";
const PATIENCE_MS = 8000;

/** The error for a request without a usable answer; the message is a sentence. `status` is 0 if no answer came. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let token = stored();

/** Returns the stored token. If the browser forbids storage, the token lasts only as long as the page is open. */
function stored() {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}

export const hasToken = () => token !== "";

export function useToken(text) {
  token = text;
  try {
    if (text) sessionStorage.setItem(KEPT, text);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // The browser forbids storage, so the token is kept in memory only.
  }
}

export const status = () => ask("GET", "/api/status");
export const dead = () => ask("GET", "/api/dead");
export const partner = (account) => ask("GET", partnerPath(account));
export const act = (account, action) => ask("POST", `${partnerPath(account)}/${action}`);
export const find = (text) => ask("GET", `/api/partners?q=${encodeURIComponent(text)}`);

/** Returns whether a probe (`/healthz`, `/readyz`) passes, and its text, or `null` if the server has no such probe. */
export async function probe(path) {
  const answer = await send("GET", path);
  if (answer.status === 404) return null;
  return { ok: answer.ok, text: (await answer.text()).trim() };
}

function partnerPath(account) {
  // Browsers resolve these as steps in a path, however they are encoded.
  if (account === "." || account === "..") {
    throw new Refused(0, `A browser cannot ask for an account of this name. On a terminal: octoconf why "${account}"`);
  }
  try {
    return `/api/partners/${encodeURIComponent(account)}`;
  } catch {
    throw new Refused(0, "This is no account: it holds half a character.");
  }
}

async function send(method, path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    return await fetch(path, { method, headers, cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch (error) {
    if (error.name === "TimeoutError") throw new Refused(0, `No answer within ${PATIENCE_MS / 1000} s.`);
    // The browser refuses a token with a character that no header may hold, before anything is sent.
    if (token && /[^\x20-\x7e]/.test(token)) throw new Refused(401, "The token holds a character that cannot be sent. Enter it again.");
    throw new Refused(0, "No connection to Octoconf.");
  }
}

async function ask(method, path) {
  const answer = await send(method, path);
  const text = await answer.text().catch(() => {
    throw new Refused(0, "The answer broke off.");
  });
  if (!answer.ok) throw new Refused(answer.status, refusal(answer.status, text));
  try {
    return text ? JSON.parse(text) : {};
  } catch {
    throw new Refused(answer.status, "The answer is not JSON: is this address Octoconf's?");
  }
}

/** Returns the reason for the server's refusal: the answer is an object with `error`, or plain text. */
function refusal(status, text) {
  try {
    const said = JSON.parse(text);
    if (typeof said.error === "string") return said.error;
  } catch {
    // The answer is plain text.
  }
  return text.trim() || `Octoconf answered ${status}.`;
}
