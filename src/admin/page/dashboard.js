// Accounts are other people's text: set as text, never as markup.
async function look() {
  const state = document.getElementById("state");
  try {
    const answer = await fetch("/api/status", { cache: "no-store" });
    const status = await answer.json();
    if (!answer.ok) throw new Error(status.error);
    state.textContent = `${status.state}, ${status.in_flight} held, ${status.partners.waiting} of ${status.partners.total} partners wait`;
    const rows = status.waiting.map((row) => {
      const tr = document.createElement("tr");
      for (const text of [row.account, row.queue, row.waiting, row.state, row.reason]) tr.insertCell().textContent = text;
      return tr;
    });
    document.getElementById("waiting").replaceChildren(...rows);
  } catch (error) {
    state.textContent = `No status: ${error.message}`;
  }
  setTimeout(look, 2000);
}
look();
