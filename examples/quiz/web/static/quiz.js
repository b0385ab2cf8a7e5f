// Pages work without this file; with it, answers appear in place.
//
// It understands the part of htmx's attribute language that the templates use, so that htmx itself could take its place:
//   hx-get hx-post hx-put hx-patch hx-delete="url"   what to request; a form or control inside a form sends that form
//   hx-target="selector"  hx-swap="outerHTML | innerHTML | delete"   where the answer goes
//   hx-confirm="question"
// and two words of its own: data-star="url" (a pressed button, kept as JSON), data-confirm="question" (a plain form).
// `dodaiFetch` comes with {{ csrf_meta() }}: fetch, with the token in the header.
"use strict";

// Pieces of pages, please; errors too, so that they can be shown.
const ASKED_BY_SCRIPT = { "HX-Request": "true", Accept: "text/html" };
const METHODS = ["get", "post", "put", "patch", "delete"];
const ACTIVE = METHODS.map((method) => `[hx-${method}]`).join(", ");

function methodOf(element) {
  return METHODS.find((method) => element.hasAttribute(`hx-${method}`));
}

function inherited(element, name) {
  const owner = element.closest(`[${name}]`);
  return owner ? owner.getAttribute(name) : null;
}

function bodyOf(element, method, submitter) {
  const form = element.closest("form");
  return form && method !== "get" && method !== "delete" ? new URLSearchParams(new FormData(form, submitter)) : undefined;
}

function targetOf(element) {
  const selector = inherited(element, "hx-target");
  if (!selector || selector === "this") return element;
  return selector.startsWith("closest ") ? element.closest(selector.slice(8)) : document.querySelector(selector);
}

function swap(target, how, html) {
  const parsed = document.createRange().createContextualFragment(html);
  if (how === "delete") target.remove();
  else if (how === "outerHTML") target.replaceWith(parsed);
  else target.replaceChildren(parsed);
  const heading = document.querySelector("[data-focus]");
  if (heading) heading.focus();
}

// What went wrong, above the page that is still there. A whole page of an error is shown by its main part.
function notify(html) {
  const told = document.createElement("template");
  told.innerHTML = html;
  const notice = document.getElementById("notice");
  notice.replaceChildren(...(told.content.querySelector("main") || told.content).childNodes);
  if (html) notice.scrollIntoView({ block: "nearest" });
}

async function request(element, submitter) {
  const method = methodOf(element);
  const question = inherited(element, "hx-confirm");
  if (question && !window.confirm(question)) return;
  const target = targetOf(element);
  const pressed = submitter || element;
  pressed.setAttribute("aria-busy", "true");
  try {
    const answer = await window.dodaiFetch(element.getAttribute(`hx-${method}`), {
      method: method.toUpperCase(),
      headers: ASKED_BY_SCRIPT,
      body: bodyOf(element, method, submitter),
    });
    const html = await answer.text();
    notify("");
    if (answer.redirected) window.location.assign(answer.url);
    else if (answer.ok) swap(target, inherited(element, "hx-swap") || "innerHTML", html);
    else notify(html);
  } catch {
    // No answer at all: send the form the plain way, the browser then says what is wrong.
    if (element instanceof HTMLFormElement) element.submit();
  } finally {
    pressed.removeAttribute("aria-busy");
  }
}

async function star(button) {
  const starred = button.getAttribute("aria-pressed") !== "true";
  const answer = await window.dodaiFetch(button.dataset.star, {
    method: "PUT",
    headers: { ...ASKED_BY_SCRIPT, "Content-Type": "application/json" },
    body: JSON.stringify({ starred }),
  });
  if (answer.ok) button.setAttribute("aria-pressed", String((await answer.json()).starred));
  else notify(await answer.text());
}

document.addEventListener("submit", (event) => {
  const asked = event.submitter?.dataset.confirm;
  if (asked && !window.confirm(asked)) {
    event.preventDefault();
  } else if (event.target.matches(ACTIVE)) {
    event.preventDefault();
    request(event.target, event.submitter);
  }
});

document.addEventListener("click", (event) => {
  const pressed = event.target.closest("[data-star]");
  const element = event.target.closest(ACTIVE);
  if (pressed) {
    star(pressed);
  } else if (element && !(element instanceof HTMLFormElement)) {
    event.preventDefault();
    request(element, null);
  }
});
