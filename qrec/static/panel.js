// What an executor's own template says, as elements: those that only show something, with attributes that do nothing.
//
// The server escapes every value, and the page's policy lets no script run that is not ours. This is a third wall: a
// template may come from anybody, and what it says is put beside buttons that act.

const words = (text) => new Set(text.split(" "));
const ELEMENTS = words(
  "a abbr b blockquote br caption code dd del details div dl dt em figcaption figure h2 h3 h4 hr i ins kbd li mark " +
    "meter ol p pre progress samp section small span strong sub summary sup table tbody td tfoot th thead time tr ul var",
);
const DROPPED = words("iframe math noscript object script select style svg template textarea title");
const ATTRIBUTES = words("aria-label class colspan datetime lang max min open rowspan scope title value");
const HTML = document.documentElement.namespaceURI;

/** The elements of a text of HTML. */
export function elements(text) {
  const read = new DOMParser().parseFromString(text, "text/html"); // runs nothing, fetches nothing
  return [...read.body.childNodes].flatMap(copied);
}

function copied(node) {
  if (node.nodeType === Node.TEXT_NODE) return [document.createTextNode(node.data)];
  if (node.nodeType !== Node.ELEMENT_NODE || node.namespaceURI !== HTML || DROPPED.has(node.localName)) return [];
  const inside = [...node.childNodes].flatMap(copied);
  if (!ELEMENTS.has(node.localName)) return inside;
  const made = document.createElement(node.localName);
  for (const { name, value } of node.attributes) if (ATTRIBUTES.has(name)) made.setAttribute(name, value);
  if (node.localName === "a") link(made, node.getAttribute("href") ?? "");
  made.append(...inside);
  return [made];
}

function link(made, address) {
  if (!/^(https?:|\/(?![/\\]))/i.test(address)) return;
  made.setAttribute("href", address);
  made.setAttribute("rel", "noreferrer");
}
