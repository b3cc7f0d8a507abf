// What every page is made from.  A page is an ES module that ends with `mount(Page)`.
//
//   import { html, mount, Header, Status, getJson, post, socket, ref } from "/static/lib.js";
//   const Page = { setup() { const n = ref(0); return () => html`<${Header} /><main>${n.value}</main>`; } };
//   mount(Page);
//
// In templates, text is always text: nothing here makes HTML from strings.

import { Fragment, computed, createApp, h, nextTick, onMounted, onScopeDispose, onUnmounted, reactive, ref, shallowReactive, shallowRef, watch } from "/static/vendor/vue.runtime.esm-browser.prod.js";
import htm from "/static/vendor/htm.module.js";

export * from "/static/vendor/vue.runtime.esm-browser.prod.js";

// Elements

// A component's children become its default slot.  `this[0] = 3` keeps htm from handing out one vnode twice.
function element(type, props, ...children) {
  this[0] = 3;
  if (typeof type === "string" || type === Fragment) return h(type, props, children);
  return h(type, props, children.length ? { default: () => children } : undefined);
}

/** Tagged templates that give Vue's elements: html`<p class="x" onClick=${f}>${text}</p>`. */
export const html = htm.bind(element);

/** What the server said of this page: `page`, `uid`, `csrf` ... (the body's data attributes). */
export const page = document.body.dataset;

/** Whether the server refuses every change. */
export const readOnly = Boolean(page.readOnly);

/** Show a component as this page, with dialogs, toasts and the help that all pages share. */
export function mount(Component) {
  const Shell = {
    render: () => html`
      <a class="skip" href="#main">Skip to content</a>
      <${Component} />
      <${Dialogs} />
      <${Toasts} />
    `,
  };
  const app = createApp(Shell);
  app.config.errorHandler = (error) => {
    console.error(error);
    toast("This page has a fault; reload it.", "bad");
  };
  app.mount("#app");
  return app;
}

// Talking to the server

/** An answer other than 2xx.  `message` is the server's sentence, `status` the number (0: no answer at all). */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(method, url, body, signal) {
  const headers = { Accept: "application/json" };
  const wanted = { method, headers, signal, credentials: "same-origin", cache: "no-store" };
  if (method !== "GET") {
    headers["Content-Type"] = "application/json";
    headers["X-Qrec-CSRF"] = page.csrf || "";
    wanted.body = JSON.stringify(body ?? {});
  }
  let answer;
  try {
    answer = await fetch(url, wanted);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer.");
  }
  const told = await answer.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    if (answer.ok) throw new ApiError(0, "The answer of the server broke off.");
    return {};
  });
  if (answer.ok) return told;
  if (answer.status === 401) connection.state = "signed out";
  throw new ApiError(answer.status, told.error || `${answer.status} ${answer.statusText}`);
}

/** The JSON at this address.  Raises ApiError. */
export const getJson = (url, { signal } = {}) => ask("GET", url, undefined, signal);

/** POST JSON with the session's CSRF header; the answer's JSON.  Raises ApiError. */
export const post = (url, body) => ask("POST", url, body);

/** DELETE with the session's CSRF header.  Raises ApiError. */
export const remove = (url) => ask("DELETE", url);

/** A query string of the values that are there: query({q: "a b", tag: ""}) is "?q=a+b". */
export function query(values) {
  const kept = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(kept).toString();
  return text ? `?${text}` : "";
}

// The socket: one for the page, opened when somebody watches something

const AGAIN = 1000; // ms until what the connection needs is asked for again
const STALE = 5000; // ms without a connection until what is shown is called stale

/** How the connection stands: `state` is connecting, live, reconnecting, stale or "signed out"; `since` a Date. */
export const connection = reactive({ state: "connecting", since: null });

const rooms = new Map(); // what is watched, as JSON -> how many watch it
const listeners = new Map(); // the name of an event -> who is to be called with what it tells
const resyncs = new Set();
let opening = false;
let wire = null; // once it is there
let staleTimer = 0;
let wasLive = false;

// Its program is asked for when the page has drawn what it was opened for, which matters more.
function open() {
  if (opening) return;
  opening = true;
  whenIdle(bring);
}

async function bring(_, tries = 0) {
  const program = "/static/vendor/socket.io.esm.min.js";
  const brought = await import(tries ? `${program}?${tries}` : program).catch(() => null); // some keep what failed in mind
  if (brought) return connect(brought.io);
  lost();
  setTimeout(bring, AGAIN, null, tries + 1);
}

const whenIdle = (call) => (window.requestIdleCallback ? requestIdleCallback(call, { timeout: 300 }) : setTimeout(call, 100));

function connect(io) {
  wire = io({ transports: ["websocket", "polling"], reconnectionDelay: 300, reconnectionDelayMax: 4000 });
  for (const name of listeners.keys()) pass(name);
  wire.on("connect", () => {
    const isLate = connection.since !== null; // the server tells of the last minute only
    clearTimeout(staleTimer);
    staleTimer = 0;
    connection.state = "live";
    connection.since = null;
    for (const room of rooms.keys()) wire.emit("watch", JSON.parse(room));
    if (wasLive || isLate) resync();
    wasLive = true;
  });
  wire.on("disconnect", (reason) => {
    lost(reason === "ping timeout" ? 0 : STALE); // then it has been still for longer than that already
    if (reason === "io server disconnect") wire.connect(); // the client gives up by itself in this one case
  });
  wire.on("connect_error", () => {
    lost();
    signedOut();
  });
  wire.on("changed", ({ gap }) => gap && resync());
}

/** Let the events of this name reach those who listen. */
function pass(name) {
  wire.on(name, (told) => [...listeners.get(name)].forEach((handler) => handler(told)));
}

function lost(patience = STALE) {
  if (connection.state === "signed out" || staleTimer || connection.state === "stale") return;
  connection.since = connection.since || new Date();
  if (connection.state === "live") connection.state = "reconnecting";
  staleTimer = setTimeout(() => {
    staleTimer = 0;
    if (connection.state !== "live" && connection.state !== "signed out") connection.state = "stale";
  }, patience);
}

// A server that was started anew does not know this page's session any more: look, so that we can say so.
let asking = false;
async function signedOut() {
  if (asking) return;
  asking = true;
  await ask("GET", "/tasks.json?limit=1").catch(() => {});
  asking = false;
}

function resync() {
  for (const call of [...resyncs]) call();
}

/** The one connection of this page.  All of it only reads. */
export const socket = {
  get state() {
    return connection.state;
  },
  /** Ask for events: socket.watch({task: uid}).  Returns what stops it. */
  watch(what) {
    const room = JSON.stringify(what);
    rooms.set(room, (rooms.get(room) || 0) + 1);
    if (rooms.get(room) === 1 && wire?.connected) wire.emit("watch", what);
    open();
    return () => {
      rooms.set(room, rooms.get(room) - 1);
      if (rooms.get(room) > 0) return;
      rooms.delete(room);
      if (wire?.connected) wire.emit("unwatch", what);
    };
  },
  /** Call `handler` on each event of this name (changed, grew, live, bye).  Returns what stops it. */
  on(name, handler) {
    const known = listeners.get(name);
    listeners.set(name, (known || new Set()).add(handler));
    if (!known && wire) pass(name);
    open();
    return () => listeners.get(name).delete(handler);
  },
  /** Call `handler` whenever something may have been missed: fetch again then.  Returns what stops it. */
  onResync(handler) {
    resyncs.add(handler);
    return () => resyncs.delete(handler);
  },
};

/** `socket.watch`, `on` and `onResync` for as long as the component lives: following({task: uid}, {changed: f}, g). */
export function following(what, handlers, again) {
  const stops = [];
  onMounted(() => {
    for (const [name, handler] of Object.entries(handlers)) stops.push(socket.on(name, handler));
    if (again) stops.push(socket.onResync(again));
    if (what) stops.push(socket.watch(what));
  });
  onUnmounted(() => stops.forEach((stop) => stop()));
}

/** `call`, at once but then at most each `pause` ms, never twice at a time, not while the tab is hidden, and not when the
 *  component that wants it has gone. */
export function calmly(call, pause = 250) {
  let wanted = false;
  let busy = false;
  let isOver = false;
  async function go() {
    if (busy || document.hidden) return;
    busy = true;
    while (wanted && !document.hidden) {
      wanted = false;
      const began = performance.now();
      await Promise.resolve(call()).catch(ifFault);
      await new Promise((done) => setTimeout(done, Math.max(0, pause - (performance.now() - began))));
    }
    busy = false;
  }
  const seen = () => wanted && go();
  document.addEventListener("visibilitychange", seen);
  onScopeDispose(() => {
    isOver = true;
    wanted = false;
    document.removeEventListener("visibilitychange", seen);
  }, true);
  return () => {
    wanted = !isOver;
    go();
  };
}

/** Of what went wrong, tell of a fault of ours; what the server did not give comes with the next change. */
function ifFault(error) {
  if (!(error instanceof ApiError) && error.name !== "AbortError") reportError(error);
}

/** Tells calls apart that overtake each other: `const isNewest = begin()` before an await, `isNewest()` behind it. */
export function turns() {
  let newest = 0;
  return () => {
    const mine = (newest += 1);
    return () => mine === newest;
  };
}

/** What a page shows, and how it comes there: `told` is what `fetch`, when it was last asked, gave; `trouble` why not.
 *  `load` fetches it, `loadSoon` does so as changes come, at most each `pause` ms.  404 is told to `gone`, if that is there. */
export function loading(fetch, pause, { gone } = {}) {
  const told = shallowRef(null);
  const trouble = ref("");
  const begin = turns();
  let isFirst = true;
  async function load() {
    const isNewest = begin();
    try {
      const answer = await fetch();
      if (!isNewest()) return;
      told.value = answer;
      trouble.value = "";
      if (isFirst) backToPlace();
      isFirst = false;
    } catch (error) {
      if (!isNewest()) return;
      if (error.status === 404) gone?.();
      trouble.value = error.message;
    }
  }
  return { told, trouble, load, loadSoon: calmly(load, pause) };
}

/** A sentence about what went wrong; nothing if there is none: <Trouble of=${sentence} />. */
export const Trouble = (props) => props.of && html`<p class="notice bad" role="alert">${props.of}</p>`;
Trouble.props = ["of"];

// Where one was: a page that is come back to stands where it was left, once it is drawn.

history.scrollRestoration = "manual"; // the browser would try before there is anything to scroll
const RESTED = 150; // ms after the last step of scrolling
let resting = 0;

const keepPlace = () => history.replaceState({ ...history.state, scroll: scrollY }, "");
addEventListener("beforeunload", keepPlace);
addEventListener("popstate", () => clearTimeout(resting)); // that place was another page's
addEventListener(
  "scroll",
  () => {
    clearTimeout(resting);
    resting = setTimeout(keepPlace, RESTED);
  },
  { passive: true },
);

/** Go to where this page was when it was left, if it is come back to. */
export async function backToPlace() {
  const to = history.state?.scroll;
  await nextTick();
  if (to) scrollTo(0, to);
}

// Rows of a table that the keyboard walks through

/** The row that has the focus, or something in it. */
export const rowNow = () => document.activeElement?.closest?.(ROWS);
const ROWS = "tr[data-uid], tr[data-name]";

/** Give the row so many steps away the focus: its command, or its first link. */
export function move(step) {
  const all = [...document.querySelectorAll(ROWS)];
  const at = all.indexOf(rowNow());
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step))];
  (next?.querySelector("a.command") || next?.querySelector("a"))?.focus({ focusVisible: true });
  next?.scrollIntoView({ block: "nearest" });
}

// Words

export const oneLine = (text) => (text || "").replace(/\s+/g, " ");
export const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1).replaceAll("_", " ");
/** "1 job", "1,204 jobs". */
export const some = (number, what) => `${count(number)} ${what}${number === 1 ? "" : "s"}`;

/** Where some tasks belong, as every question about them shows it. */
export function whereabouts(tasks) {
  const told = (name) => {
    const every = [...new Set(tasks.map((task) => task[name]).filter(Boolean))];
    return every.length > 3 ? `${every.slice(0, 2).join(", ")} and ${count(every.length - 2)} more` : every.join(", ");
  };
  return [["Folder", told("pwd")], ["User", told("user")], ["Host", told("host")]].filter(([, words]) => words);
}

/** The words in a field, as they are typed; `of` gives those of them that hold, which come later and without spaces. */
export function draft(of) {
  const words = ref(of());
  watch(of, (held) => held !== words.value.trim() && (words.value = held));
  return words;
}

// Keyboard

const shortcuts = shallowReactive([]);
let typed = "";
let typedAt = 0;

/** Shortcuts for as long as the component lives: keys([["j", "next task", f], ["g t", "tasks", f]]).
 *  They never fire while somebody types, with a dialog open, or with Ctrl, Alt or Meta. */
export function keys(list) {
  const added = list.map(([combination, help, call]) => ({ combination, help, call }));
  onMounted(() => shortcuts.push(...added));
  onUnmounted(() => {
    for (const one of added) shortcuts.splice(shortcuts.indexOf(one), 1);
  });
}

/** Whether keys go into a field or a dialog. */
export function isTyping(event) {
  const at = event.target;
  return Boolean(at.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable], dialog"));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || event.isComposing) return;
  if (isTyping(event) || document.querySelector("dialog[open]")) return;
  const now = performance.now();
  const pair = now - typedAt < 1000 ? `${typed} ${event.key}` : "";
  const found = latest(pair) || latest(event.key);
  typed = event.key;
  typedAt = found ? 0 : now;
  if (found && found.call(event) !== false) event.preventDefault();
});

function latest(combination) {
  return combination && shortcuts.findLast((one) => one.combination === combination);
}

const goTo = (url) => () => location.assign(url);
shortcuts.push(
  { combination: "?", help: "these keys", call: () => showHelp() },
  { combination: "g t", help: "go to tasks", call: goTo("/tasks") },
  { combination: "g q", help: "go to queues", call: goTo("/queues") },
  { combination: "g l", help: "go to live", call: goTo("/live") },
);

function showHelp() {
  const rows = shortcuts.filter((one) => latest(one.combination) === one).sort((a, b) => a.combination.length - b.combination.length);
  openDialog({
    title: "Keys",
    body: () => html`
      <dl class="keys">
        ${rows.map(
          ({ combination, help }) => html`
            <dt>${combination.split(" ").map((key) => html`<kbd>${key}</kbd>`)}</dt>
            <dd>${help}</dd>
          `,
        )}
      </dl>
    `,
    buttons: [],
  });
}

// Dialogs

const dialogs = shallowReactive([]);

function openDialog(settings) {
  return new Promise((answer) => dialogs.push({ ...settings, answer, values: initial(settings.fields) }));
}

function initial(fields = []) {
  return reactive(Object.fromEntries(fields.map((field) => [field.name, field.default ?? (isFlag(field) ? false : "")])));
}

const isFlag = (field) => field.kind === "bool" || field.kind === "flag";
const isNumber = (field) => ["int", "float", "number"].includes(field.kind);

/** Ask before something is done.  Resolves with the fields' values ({} if there are none), or null if refused.
 *
 *  {title, text, code (shown as a command), facts: [[name, value]...], fields: [{name, kind, default, help}...],
 *   action: the button's word, danger: whether it is red} */
export function confirm({ title, text, code, facts, fields = [], action = "OK", danger = false, body }) {
  return openDialog({ title, text, code, facts, fields, body, buttons: [{ word: action, danger }] });
}

/** Show something in a dialog: body is a function that gives elements. */
export const showDialog = (title, body, { wide = false } = {}) => openDialog({ title, body, wide, buttons: [] });

const Dialog = {
  props: ["settings"],
  emits: ["close"],
  setup(props, { emit }) {
    const box = ref(null);
    const { settings } = props;
    const before = document.activeElement;
    onMounted(() => {
      box.value.showModal();
      const first = box.value.querySelector(".field input, .field select, .field textarea") || box.value.querySelector("footer .primary, footer button");
      first?.focus();
    });
    onUnmounted(() => before?.focus?.());
    const close = (value) => {
      settings.answer(value);
      emit("close");
    };
    const submit = (event) => {
      event.preventDefault();
      close(Object.fromEntries((settings.fields || []).map((field) => [field.name, given(field, settings.values)])));
    };
    return () => html`
      <dialog
        ref=${box}
        class=${settings.wide ? "wide" : ""}
        aria-labelledby="dialog-title"
        onCancel=${(event) => (event.preventDefault(), close(null))}
        onClick=${(event) => event.target === box.value && close(null)}
      >
        <form onSubmit=${submit}>
          <header>
            <h2 id="dialog-title">${settings.title}</h2>
            <button type="button" class="plain" aria-label="Close" onClick=${() => close(null)}>✕</button>
          </header>
          ${settings.text && html`<p>${prose(settings.text)}</p>`}
          ${settings.code && html`<pre class="command">${settings.code}</pre>`}
          ${
            settings.facts?.length &&
            html`<dl class="facts">
              ${settings.facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
            </dl>`
          }
          ${(settings.fields || []).map((field) => html`<${Field} field=${field} values=${settings.values} />`)}
          ${settings.body && html`<div class="dialog-body">${settings.body()}</div>`}
          ${
            settings.buttons.length > 0 &&
            html`<footer>
              <button type="button" onClick=${() => close(null)}>Back</button>
              ${settings.buttons.map(
                ({ word, danger }) => html`<button type="submit" class=${danger ? "danger" : "primary"}>${word}</button>`,
              )}
            </footer>`
          }
        </form>
      </dialog>
    `;
  },
};

function given(field, values) {
  const value = values[field.name];
  if (isNumber(field)) return value === "" || value === null ? (field.default ?? null) : Number(value);
  return value === "" && (field.default === null || field.default === undefined) ? null : value;
}

const Field = {
  props: ["field", "values"],
  setup({ field, values }) {
    const id = `field-${field.name}`;
    const label = field.label || field.name.replaceAll("_", " ");
    if (isFlag(field))
      return () => html`
        <label class="field flag">
          <input
            type="checkbox"
            checked=${values[field.name]}
            onChange=${(event) => (values[field.name] = event.target.checked)}
          />
          <span>${label}</span>
          ${field.help && html`<small>${field.help}</small>`}
        </label>
      `;
    if (field.choices?.length)
      return () => html`
        <div class="field">
          <label for=${id}>${label}</label>
          <select id=${id} onChange=${(event) => (values[field.name] = event.target.value)}>
            ${(field.default ? field.choices : ["", ...field.choices]).map(
              (one) => html`<option value=${one} selected=${one === values[field.name]}>${one}</option>`,
            )}
          </select>
          ${field.help && html`<small>${field.help}</small>`}
        </div>
      `;
    return () => html`
      <div class="field">
        <label for=${id}>${label}</label>
        <${field.long ? "textarea" : "input"}
          id=${id}
          type=${field.long ? null : field.secret ? "password" : isNumber(field) ? "number" : "text"}
          step=${field.kind === "float" ? "any" : null}
          min=${field.min}
          rows=${field.long ? 3 : null}
          value=${values[field.name]}
          required=${Boolean(field.required)}
          autocomplete="off"
          onInput=${(event) => (values[field.name] = event.target.value)}
        />
        ${field.help && html`<small>${field.help}</small>`}
      </div>
    `;
  },
};

const Dialogs = {
  render: () => html`
    <${Fragment}>
      ${dialogs.map(
        (settings) => html`
          <${Dialog}
            key=${settings}
            settings=${settings}
            onClose=${() => dialogs.splice(dialogs.indexOf(settings), 1)}
          />
        `,
      )}
    <//>
  `,
};

/** A sentence in which `...` is code. */
export const prose = (text) =>
  String(text ?? "")
    .split("`")
    .map((part, at) => (at % 2 ? html`<code>${part}</code>` : part));

// Toasts

const toasts = shallowReactive([]);

/** Say something for some seconds; kind "bad" stays longer and interrupts a screen reader. */
export function toast(text, kind = "") {
  const one = { text, kind };
  toasts.push(one);
  if (toasts.length > 4) toasts.shift();
  setTimeout(() => toasts.includes(one) && toasts.splice(toasts.indexOf(one), 1), kind === "bad" ? 9000 : 4000);
}

const Toasts = {
  render: () => html`
    <div class="toasts">
      <div role="status">${toasts.filter((one) => one.kind !== "bad").map(toastOf)}</div>
      <div role="alert">${toasts.filter((one) => one.kind === "bad").map(toastOf)}</div>
    </div>
  `,
};

const toastOf = (one) => html`
  <p class=${`toast ${one.kind}`}>
    <span>${prose(one.text)}</span>
    <button class="plain" aria-label="Dismiss" onClick=${() => toasts.splice(toasts.indexOf(one), 1)}>✕</button>
  </p>
`;

/** Do something that may fail; says what went wrong and gives undefined then. */
export async function attempt(call, done) {
  try {
    const value = await call();
    if (done) toast(done);
    return value ?? true;
  } catch (error) {
    toast(error.message, "bad");
    return undefined;
  }
}

/** Put text on the clipboard and say so. */
export async function copy(text, what = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
    toast(what);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "offscreen";
    (document.querySelector("dialog[open]") || document.body).append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    toast(copied ? what : "The browser does not let this page copy.", copied ? "" : "bad");
  }
}

/** A button that copies. */
export const Copy = (props) => html`
  <button class="plain copy" title=${props.title || "Copy"} onClick=${() => copy(props.text, props.done)}>
    <${Icon} name="copy" /><span class="hidden">${props.title || "Copy"}</span>
  </button>
`;
Copy.props = ["text", "title", "done"];

// Statuses

export const STATUSES = ["running", "submitted", "queued", "failed", "complete", "cancelled", "skipped", "lost"];
const ALWAYS = ["running", "queued", "failed", "complete"]; // told even when there are none of them

/** The statuses worth telling of: those that there are some of, or nobody knows, and those that everybody asks for. */
export const worthTelling = (counts, chosen = "") =>
  STATUSES.filter((name) => ALWAYS.includes(name) || counts[name] || counts[name] === null || chosen === name);

// Drawn, since no font has all of them alike.  Told by shape and word; the colour only helps.
const SHAPES = {
  complete: ["M3 8.5l3.2 3.2L13 5"],
  failed: ["M4 4l8 8M12 4l-8 8"],
  running: [null, 4.5, true],
  queued: [null, 4.5],
  submitted: ["M8 3.5V8l3 2", 5.5],
  blocked: [null, 4.5, false, "2 2"],
  cancelled: ["M4.2 11.8l7.6-7.6", 5.5],
  skipped: ["M3 4l5 4-5 4zM12 4v8"],
  lost: ["M5.5 6a2.5 2.5 0 1 1 3.6 2.2Q8 8.8 8 10M8 12.4v.1"],
};

/** A status as shape, word and colour: <Status of="failed" code=2 />.  `bare` shows the word to screen readers only. */
export const Status = (props) => html`
  <span class=${`status ${props.of}`} title=${props.bare ? props.of : null}>
    ${Glyph(props)}
    <span class=${props.bare ? "hidden" : ""}>${props.word || props.of}</span>
    ${props.code ? html`<span class="code">${props.code}</span>` : null}
  </span>
`;
Status.props = ["of", "code", "bare", "word"];

/** The shape alone; give it a word beside it. */
export const Glyph = (props) => {
  const [path, radius, filled, dashes] = SHAPES[props.of] || SHAPES.lost;
  return html`
    <svg class=${`glyph ${props.of}`} viewBox="0 0 16 16" aria-hidden="true">
      ${radius && html`<circle cx="8" cy="8" r=${radius} class=${filled ? "filled" : ""} stroke-dasharray=${dashes} />`}
      ${path && html`<path d=${path} />`}
    </svg>
  `;
};
Glyph.props = ["of"];

export const isFinal = (status) => !["queued", "running", "submitted"].includes(status);

const ICONS = {
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9M10.5 10.5l3.5 3.5",
  light: "M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6M8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M3.4 12.6l.7-.7M11.9 4.1l.7-.7",
  dark: "M13 9.6A5.5 5.5 0 0 1 6.4 3a5.5 5.5 0 1 0 6.6 6.6z",
  system: "M2 3h12v8H2zM6 14h4M8 11v3",
  help: "M6 6a2 2 0 1 1 2.9 1.8Q8 8.3 8 9.3M8 11.6v.1M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13",
  more: "M3.5 8h.1M8 8h.1M12.5 8h.1",
  rerun: "M13 8a5 5 0 1 1-1.6-3.7L13 5.8M13 2.5v3.3H9.7",
  stop: "M4.5 4.5h7v7h-7z",
  edit: "M10.5 3l2.5 2.5L6 12.5l-3 .5.5-3z",
};

/** A line drawing: copy, search, light, dark, system, help, more, rerun, stop, edit. */
export const Icon = (props) => html`
  <svg class=${`icon ${props.name}`} viewBox="0 0 16 16" aria-hidden="true"><path d=${ICONS[props.name]} /></svg>
`;
Icon.props = ["name"];

// Time, durations, sizes

/** The time now, a new Date each few seconds while the tab is seen, for "2 min ago". */
export const now = ref(new Date());
setInterval(() => !document.hidden && (now.value = new Date()), 5000);
document.addEventListener("visibilitychange", () => (now.value = new Date()));

const two = (number) => String(Math.floor(number)).padStart(2, "0");

/** Seconds as people read them: 12 ms, 2.3 s, 12.4 s, 2:13, 1:02:13, 3 d 04:10. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const [days, hours, minutes] = [whole / 86400, (whole / 3600) % 24, (whole / 60) % 60];
  if (whole < 3600) return `${Math.floor(minutes)}:${two(whole % 60)}`;
  if (whole < 86400) return `${Math.floor(hours)}:${two(minutes)}:${two(whole % 60)}`;
  return `${Math.floor(days)} d ${two(hours)}:${two(minutes)}`;
}

/** Bytes as people read them: 512 B, 4.0 kB, 310 MB. */
export function size(bytes) {
  if (bytes === null || bytes === undefined || !Number.isFinite(bytes)) return "";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let at = 0;
  let value = bytes;
  while (value >= 999.5 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${at === 0 || value >= 99.5 ? Math.round(value) : value.toPrecision(value < 10 ? 2 : 3)} ${units[at]}`;
}

/** A number with its thousands told apart. */
export const count = (number) => String(number ?? 0).replace(/\B(?=(\d{3})+$)/g, ",");

/** A time seen from now: just now, 5 min ago, 3 h ago, yesterday 14:02, 12 Nov 14:02, 12 Nov 2025. */
export function ago(iso, from = now.value) {
  const then = new Date(iso);
  const seconds = (from - then) / 1000;
  if (!Number.isFinite(seconds)) return "";
  if (seconds < -60) return clock(then);
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds / 10) * 10} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 8 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
  return clock(then, from);
}

// Asking the browser for these for each row would take longer than drawing it.
export const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
let zone = "";

/** A time in the browser's zone, as short as it is clear. */
export function clock(when, from = now.value) {
  const then = new Date(when);
  const time = `${two(then.getHours())}:${two(then.getMinutes())}`;
  const days = Math.round((new Date(from).setHours(0, 0, 0, 0) - new Date(then).setHours(0, 0, 0, 0)) / 86400000);
  if (days === 0) return time;
  if (days === 1) return `yesterday ${time}`;
  const sameYear = then.getFullYear() === new Date(from).getFullYear();
  return `${then.getDate()} ${MONTHS[then.getMonth()]} ${sameYear ? time : then.getFullYear()}`;
}

/** A time as it is in the browser's zone, in full. */
export function fullTime(iso) {
  const then = new Date(iso);
  const day = `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())}`;
  zone ||= Intl.DateTimeFormat().resolvedOptions().timeZone;
  return `${day} ${two(then.getHours())}:${two(then.getMinutes())}:${two(then.getSeconds())} ${zone}`;
}

/** A time: <Time at=${iso} />, "5 min ago"; on hover in full, here and in UTC.  `full` shows it in full. */
export const Time = (props) => {
  if (!props.at) return html`<span class="muted">–</span>`;
  const words = props.full ? fullTime(props.at) : ago(props.at);
  return html`<time datetime=${props.at} onPointerenter=${tellInFull}>${words}</time>`;
};

function tellInFull({ currentTarget: time }) {
  const utc = new Date(time.dateTime).toISOString().slice(0, 19).replace("T", " ");
  time.title = `${fullTime(time.dateTime)}\n${utc} UTC`;
}
Time.props = ["at", "full"];

/** How long a task has been running or ran: counts on while it runs. */
export const Took = (props) => {
  const { task } = props;
  if (isFinal(task.status) || !task.started) return html`<span class="took">${duration(task.seconds) || "–"}</span>`;
  const seconds = Math.max(0, (now.value - new Date(task.started)) / 1000, task.seconds || 0);
  return html`<span class="took counting">${seconds < 1 ? "0 s" : duration(Math.floor(seconds)).replace(".0 s", " s")}</span>`;
};
Took.props = ["task"];

// The look

/** A colour of the theme as the canvas wants it: colour("--accent"). */
export function colour(name) {
  const probe = document.createElement("i");
  probe.className = "offscreen";
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** Which theme is chosen: system, light or dark; remembered. */
export const theme = ref(document.documentElement.dataset.theme || "system");

/** Whether what is seen is dark, however that came about. */
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = ref(darkSystem.matches);
darkSystem.addEventListener("change", () => (systemIsDark.value = darkSystem.matches));
export const isDark = computed(() => (theme.value === "system" ? systemIsDark.value : theme.value === "dark"));

export function setTheme(name) {
  theme.value = name;
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  recall("theme", name);
}

/** What this browser remembers: recall("x") reads, recall("x", value) writes. */
export function recall(name, value) {
  try {
    if (value === undefined) return localStorage.getItem(`qrec.${name}`);
    localStorage.setItem(`qrec.${name}`, value);
  } catch {
    // no storage: forgotten with the page
  }
  return value ?? null;
}

let plots = null;
let leaving = false; // a page that is left gives up what it was loading, and that is no error
addEventListener("beforeunload", () => (leaving = true));
addEventListener("pageshow", () => (leaving = false));

/** uPlot, loaded when it is first wanted: const uPlot = await plotting(). */
export function plotting() {
  plots ||= new Promise((done, fail) => {
    const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet" });
    sheet.href = "/static/vendor/uPlot.min.css";
    const script = document.createElement("script");
    script.src = "/static/vendor/uPlot.iife.min.js";
    script.onload = () => done(window.uPlot);
    script.onerror = () => {
      plots = null;
      if (!leaving) fail(new Error("uPlot cannot be loaded"));
    };
    document.head.append(sheet, script);
  });
  return plots;
}

// The header, the same everywhere

const NEXT_THEME = { system: "light", light: "dark", dark: "system" };
const TABS = [
  ["/tasks", "Tasks", ["tasks", "task"]],
  ["/queues", "Queues", ["queues", "queue"]],
  ["/live", "Live", ["live"]],
];

/** <Header search=${text} onSearch=${f} />: `search` is called with the text as it is typed; without it, Enter in
 *  the field goes to the list of tasks. */
export const Header = {
  props: ["search"],
  emits: ["search"],
  setup(props, { emit, attrs }) {
    const field = ref(null);
    const words = draft(() => props.search ?? "");
    keys([["/", "search", () => (field.value.focus(), field.value.select())]]);
    const submit = (event) => {
      event.preventDefault();
      if (props.search === undefined)
        location.assign(`/tasks${query({ q: field.value.value })}`);
      else emit("search", field.value.value, true);
    };
    return () => html`
      <header class="top">
        <a class="brand" href="/tasks"><img src="/static/icon.svg" alt="" width="20" height="20" />qrec</a>
        <nav aria-label="Pages">
          ${TABS.map(
            ([url, name, pages]) =>
              html`<a href=${url} aria-current=${pages.includes(page.page) ? "page" : null}>${name}</a>`,
          )}
        </nav>
        <form role="search" class="finder" onSubmit=${submit}>
          <${Icon} name="search" />
          <input
            ref=${field}
            type="search"
            aria-label="Search commands, notes, tags and output"
            placeholder="Search commands and output"
            autocomplete="off"
            spellcheck="false"
            value=${words.value}
            onInput=${(event) => ((words.value = event.target.value), emit("search", words.value, false))}
            onKeydown=${(event) => event.key === "Escape" && field.value.blur()}
          />
          <kbd aria-hidden="true">/</kbd>
        </form>
        <${Connection} />
        <button
          class="plain"
          title=${`Theme: ${theme.value}`}
          aria-label=${`Theme: ${theme.value}. Change to ${NEXT_THEME[theme.value]}`}
          onClick=${() => setTheme(NEXT_THEME[theme.value])}
        >
          <${Icon} name=${theme.value} />
        </button>
        <button class="plain help" title="Keys (?)" aria-label="Keys" onClick=${showHelp}><${Icon} name="help" /></button>
      </header>
    `;
  },
};

const WORDS = {
  connecting: ["connecting", "submitted"],
  live: ["live", "running"],
  reconnecting: ["reconnecting", "submitted"],
  stale: ["stale", "blocked"],
  "signed out": ["signed out", "cancelled"],
};

const Connection = () => {
  const { state, since } = connection;
  const [word, shape] = WORDS[state];
  const told = state === "stale" && since ? `stale since ${clock(since)}` : word;
  const hint = {
    live: "Changes appear here as they happen.",
    stale: "The server does not answer. What is shown may be out of date.",
    "signed out": "Run `qrec start` for a fresh address.",
  }[state];
  return html`
    <span class=${`connection ${state.replace(" ", "-")}`} role="status" title=${hint?.replaceAll("`", "")}>
      <${Glyph} of=${shape} /><span>${told}</span>
    </span>
  `;
};

/** What stands where there is nothing: <Empty title="No tasks yet" command="qrec run -- echo hello">hint<//>. */
export const Empty = (props, { slots }) => html`
  <div class="empty">
    <h2>${props.title}</h2>
    ${slots.default?.()}
    ${
      props.command &&
      html`<p class="teach"><code>$ ${props.command}</code><${Copy} text=${props.command} title="Copy the command" /></p>`
    }
  </div>
`;
Empty.props = ["title", "command"];
