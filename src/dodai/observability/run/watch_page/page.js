// The main part anew every few seconds. What a person has focused or opened stays where it is.
const live = document.getElementById("live"), gone = document.getElementById("gone"), said = document.currentScript.dataset.gone;
let shown = live.innerHTML;
async function renew() {
  try {
    const answer = await fetch("/live" + location.search, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const next = await answer.text();
    gone.hidden = true;
    if (next !== shown && !live.contains(document.activeElement)) live.innerHTML = shown = next;
  } catch {
    gone.textContent = said;
    gone.hidden = false;
  }
}
if (location.pathname === "/") setInterval(() => document.hidden || renew(), 2000);
