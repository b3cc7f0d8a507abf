// The log of a task: any of millions of lines at once, coloured, followed as it grows, searched as a whole.
//
//   <LogView uid=${uid} attempt=${2} running=${true} started=${iso} onTime=${(ms) => ...} />
//
// Only the rows that are seen are in the page.  The server knows where lines begin; this asks for those it shows.
// Nothing of a log ever becomes HTML: it is put in as text, colours as classes or through the CSSOM.

import { Icon, copy, count, following, getJson, html, keys, onMounted, onUnmounted, query, reactive, recall, ref, shallowRef, size, some, toast, watch } from "/static/lib.js";

// A page that does not link to the look of the log gets it here, before anything is drawn.
if (!document.querySelector('link[href="/static/log.css"]'))
  await new Promise((onload) => {
    const sheet = document.createElement("link");
    document.head.append(Object.assign(sheet, { rel: "stylesheet", href: "/static/log.css", onload, onerror: onload }));
  });

const ROW = 18; // pixels of a row that is not wrapped
const TALLEST = 8e6; // pixels; browsers clamp what is much taller
const AT_ONCE = 200; // lines asked for at a time
const KEPT = 6000; // lines remembered
const PAUSE = 200; // ms between two looks at a log that grows
const RETRY = 1500; // ms after which an answer that failed is asked for again
const POLL = 2000; // ms after which it is looked at although nobody told of growth
const UNSURE = 60; // lines at the end that may still change
const COPIED = 20000; // lines that can be copied
const CLOCKS = [
  ["off", "no times"],
  ["absolute", "clock"],
  ["relative", "since start"],
  ["delta", "since line before"],
];

// ---------------------------------------------------------------------------------------------------------------------
// Control sequences

// CSI; strings that end with BEL, ST, or the line; other escapes; what no font draws or what turns text around.
// eslint-disable-next-line no-control-regex
const CONTROL = /\x1b\[([0-?]*)[ -/]*([@-~])|\x1b\]([^\x07\x1b]*)(?:\x07|\x1b\\)?|\x1b[PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

const PLAIN = { fg: null, bg: null, bold: false, dim: false, italic: false, under: false, gone: false, inverse: false };

/** The pieces of a line that look alike: [{text, look, href}]. */
export function pieces(line) {
  const found = [];
  let look = PLAIN;
  let href = "";
  let at = 0;
  const add = (text, control = false) => {
    const last = found.at(-1);
    if (!text) return;
    if (last && last.look === look && last.href === href && last.control === control) last.text += text;
    else found.push({ text, look, href, control });
  };
  for (const match of line.matchAll(CONTROL)) {
    add(line.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[2] === "m") look = changed(look, match[1]);
    else if (match[3] !== undefined) href = match[3].startsWith("8;") ? safe(match[3]) : href;
    else if (match[0] === "\b") erase(found);
    else if (match[0].length === 1 && match[0] !== "\x1b") add(picture(match[0]), true);
  }
  add(line.slice(at));
  return found;
}

/** What a character that is not drawn is shown as. */
function picture(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return `^${String.fromCodePoint(0x40 + code)}`;
  if (code === 0x7f) return "^?";
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** A backspace: the character before is overwritten. */
function erase(found) {
  const last = found.at(-1);
  if (!last) return;
  last.text = [...last.text].slice(0, -1).join("");
  if (!last.text) found.pop();
}

/** The address of an OSC 8 link, if it is one that may be followed. */
function safe(words) {
  const address = words.slice(words.indexOf(";", 2) + 1);
  try {
    const url = new URL(address);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : "";
  } catch {
    return "";
  }
}

const SWITCHES = {
  1: { bold: true }, 2: { dim: true }, 3: { italic: true }, 4: { under: true }, 7: { inverse: true },
  9: { gone: true }, 21: { under: true }, 22: { bold: false, dim: false }, 23: { italic: false }, 24: { under: false },
  27: { inverse: false }, 29: { gone: false }, 39: { fg: null }, 49: { bg: null },
};

/** A look after an SGR sequence. */
function changed(look, words) {
  if (/^[<-?]/.test(words)) return look;
  const codes = words.split(/[;:]/).map(Number);
  let now = look;
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i];
    if (code === 0) now = PLAIN;
    else if (SWITCHES[code]) now = { ...now, ...SWITCHES[code] };
    else if (code >= 30 && code <= 37) now = { ...now, fg: code - 30 };
    else if (code >= 40 && code <= 47) now = { ...now, bg: code - 40 };
    else if (code >= 90 && code <= 97) now = { ...now, fg: code - 82 };
    else if (code >= 100 && code <= 107) now = { ...now, bg: code - 92 };
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(codes.slice(i + 1), words.includes(":"));
      i += used;
      if (colour !== null) now = { ...now, [code === 38 ? "fg" : "bg"]: colour };
    }
  }
  return now;
}

/** A colour of the 256 or of all, and how many numbers told it. */
function extended([kind, ...rest], colons) {
  const isByte = (n) => n >= 0 && n <= 255;
  if (kind === 5) return [isByte(rest[0]) ? (rest[0] < 16 ? rest[0] : cube(rest[0])) : null, 2];
  if (kind !== 2) return [null, 1];
  const skip = colons && rest.length > 3 ? 1 : 0; // a colour space that nobody uses
  const rgb = rest.slice(skip, skip + 3);
  return [rgb.length === 3 && rgb.every(isByte) ? `rgb(${rgb.join(" ")})` : null, 4 + skip];
}

function cube(n) {
  if (n >= 232) return `rgb(${Array(3).fill(8 + (n - 232) * 10).join(" ")})`;
  const level = (m) => (m ? 55 + m * 40 : 0);
  n -= 16;
  return `rgb(${level(Math.floor(n / 36))} ${level(Math.floor(n / 6) % 6)} ${level(n % 6)})`;
}

/** The element of a piece; a text node if nothing is special. */
export function drawn({ text, look, href, control }) {
  if (look === PLAIN && !href && !control) return document.createTextNode(text);
  const element = document.createElement(href ? "a" : "span");
  element.textContent = text;
  if (href) Object.assign(element, { href, rel: "noopener noreferrer", target: "_blank" });
  const names = control ? ["ctl"] : [];
  for (const name of ["bold", "dim", "italic", "under", "gone"]) if (look[name]) names.push(`s-${name}`);
  if (look.inverse) names.push("s-inverse");
  const [fg, bg] = look.inverse ? [look.bg, look.fg] : [look.fg, look.bg];
  // What is behind the letters decides: the 16 colours can be read on the page, and on none of each other.
  if (typeof bg === "number") names.push(`b${bg}`);
  else if (bg) {
    element.style.backgroundColor = bg;
    if (typeof fg === "string") element.style.color = fg;
    else names.push(isLight(bg) ? "on-light" : "on-dark");
  } else if (typeof fg === "number" && !look.inverse) names.push(`f${fg}`);
  else if (fg && !look.inverse) {
    element.style.color = fg;
    element.style.color = readable(fg); // ignored where a browser does not know it
  }
  if (names.length) element.className = names.join(" ");
  return element;
}

/** A colour that can be read on the page: as dark, or as light, as its background asks for. */
const readable = (rgb) => `light-dark(oklch(from ${rgb} min(l, 0.52) c h), oklch(from ${rgb} max(l, 0.72) c h))`;

function isLight(rgb) {
  const [red, green, blue] = rgb.match(/\d+/g).map(Number);
  return red * 0.3 + green * 0.6 + blue * 0.1 > 140;
}

// ---------------------------------------------------------------------------------------------------------------------
// Times and links

const two = (n, width = 2) => String(n).padStart(width, "0");

function timeOf(line, before, clock, started) {
  if (clock === "off" || line.t === null) return "";
  if (clock === "absolute" && started) {
    const when = new Date(new Date(started).getTime() + line.t);
    return `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}.${two(when.getMilliseconds(), 3)}`;
  }
  if (clock === "delta") return before && before.t !== null ? `+${((line.t - before.t) / 1000).toFixed(3)}` : "";
  const seconds = Math.floor(line.t / 1000);
  const hours = seconds >= 3600 ? `${Math.floor(seconds / 3600)}:` : "";
  return `${hours}${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}.${two(line.t % 1000, 3)}`;
}

/** The lines that a hash names: {stream, from, to}, or null. */
export function linesIn(hash) {
  const match = /^#(?:(stdout|stderr)-)?L([1-9]\d{0,14})(?:-L?([1-9]\d{0,14}))?$/.exec(hash);
  if (!match) return null;
  const ends = [Number(match[2]), Number(match[3] || match[2])];
  return { stream: match[1] || "both", from: Math.min(...ends), to: Math.max(...ends) };
}

export function hashOf(lines) {
  const stream = lines.stream === "both" ? "" : `${lines.stream}-`;
  return `#${stream}L${lines.from}${lines.to > lines.from ? `-L${lines.to}` : ""}`;
}

// ---------------------------------------------------------------------------------------------------------------------
// The view

export const LogView = {
  props: ["uid", "attempt", "running", "started"],
  emits: ["time"],
  setup(props, { emit, expose }) {
    const view = ref(null);
    const space = ref(null);
    const pane = ref(null);
    const field = ref(null);
    const state = reactive({
      total: 0, // rows
      numbered: 0, // lines: a long one is in several rows
      bytes: 0,
      sizes: { stdout: 0, stderr: 0 },
      growing: Boolean(props.running),
      whole: true,
      looked: 0,
      timed: true,
      removed: null,
      loaded: false,
      trouble: "",
      stream: "both",
      clock: recall("log.clock") || "off",
      wrap: recall("log.wrap") === "yes",
      frames: false,
      follow: Boolean(props.running),
      seen: 0,
      words: "",
      regex: false,
      upper: false,
      hit: -1,
      searching: false,
      menu: false,
    });
    const found = shallowRef(null); // what a search told: {count, lines, truncated}
    const linked = shallowRef(null); // the lines of the hash
    let lines = new Map(); // row, from 0 -> line
    let elements = new Map(); // row -> its element
    let position = 0; // the row, with its fraction, at the top if no row were wrapped
    let height = 0; // of the view
    let ours = -1; // the scrollTop that we have set ourselves
    let lastTop = 0;
    let settling = 0;
    let frame = 0;
    let version = 0; // grows when all rows must be drawn anew
    let asked = null; // what is being fetched
    let isOver = false;

    const url = (name, values) =>
      `/tasks/${encodeURIComponent(props.uid)}/${name}${query({
        attempt: props.attempt,
        stream: streamed(),
        ...values,
      })}`;
    const framed = () => (state.frames ? 1 : "");
    const streamed = () => (state.stream === "both" ? "" : state.stream);

    // Geometry.  At a part p of the way, row p * total is at p * height in the view: from the first row at the top to
    // the last at the bottom, whatever their heights and however much the scroll bar is coarser than they are.

    const span = () => Math.max(0, state.total - height / ROW);
    const tall = () => Math.min(TALLEST, state.total * ROW);
    const isScaled = () => state.total * ROW > TALLEST;
    const furthest = () => Math.max(0, tall() - height);

    function place(to, quietly = false) {
      position = Math.min(Math.max(0, to), span());
      if (!quietly) settle();
      need(...range()); // before the next picture, which is up to 16 ms away
      draw();
    }

    /** Which rows are seen: from, to, and the one, with its fraction, that stands as far down as we are in the log. */
    function range() {
      const part = span() ? position / span() : 0;
      const anchor = part * state.total;
      const middle = Math.min(Math.floor(anchor), state.total - 1);
      const first = Math.max(0, middle - Math.ceil((part * height) / ROW) - 1);
      const last = Math.min(state.total, middle + Math.ceil(((1 - part) * height) / ROW) + 2);
      return [first, last, anchor, middle, part * height];
    }

    /** Let the scroll bar stand where we are. */
    function settle() {
      clearTimeout(settling);
      if (!view.value) return;
      const top = Math.round(isScaled() ? (position / (span() || 1)) * furthest() : position * ROW);
      ours = top;
      lastTop = top;
      if (Math.abs(view.value.scrollTop - top) >= 1) view.value.scrollTop = top;
      lastTop = ours = view.value.scrollTop;
    }

    function scrolled() {
      const top = view.value.scrollTop;
      if (Math.abs(top - ours) < 1) return;
      ours = -1;
      const by = top - lastTop;
      lastTop = top;
      if (!isScaled()) place(top / ROW, true);
      else if (Math.abs(by) < height * 1.5 && top > 0 && top < furthest() - 1) {
        place(position + by / ROW, true);
        clearTimeout(settling);
        settling = setTimeout(settle, 150);
      } else place((top / (furthest() || 1)) * span(), true);
      const atEnd = position >= span() - 0.5;
      if (by < 0 && !atEnd && state.follow) stopFollowing();
      else if (atEnd && by > 0 && state.growing) state.follow = true;
    }

    function stopFollowing() {
      state.follow = false;
      state.seen = state.numbered;
    }

    function draw() {
      if (!frame) frame = requestAnimationFrame(redraw);
    }

    function redraw() {
      cancelAnimationFrame(frame);
      frame = 0;
      if (!view.value || isOver) return;
      const isShort = !state.growing && !state.wrap && state.total * ROW < 500;
      view.value.style.maxHeight = isShort ? `${Math.max(state.total, 6) * ROW + 24}px` : "";
      height = view.value.clientHeight;
      space.value.style.height = `${Math.max(tall(), 1)}px`;
      pane.value.style.height = `${height}px`;
      if (state.follow && position !== span()) {
        position = span();
        settle();
      }
      position = Math.min(position, span());
      const [first, last, anchor, middle, at] = range();
      put(first, last);
      if (state.total) {
        const row = elements.get(middle);
        const top = span() ? row.offsetTop + (anchor - middle) * row.offsetHeight - at : 0;
        pane.value.firstChild.style.transform = `translateY(${-Math.round(top)}px)`;
      }
      highlight(first, last);
      need(first, last);
    }

    /** Let exactly these rows be in the page, as they are known. */
    function put(first, last) {
      const parent = pane.value.firstChild;
      for (const [row, element] of elements)
        if (row < first || row >= last) {
          element.remove();
          elements.delete(row);
        }
      let next = parent.firstChild;
      for (let row = first; row < last; row += 1) {
        const line = lines.get(row);
        let element = elements.get(row);
        if (!element || element.line !== line || element.version !== version) {
          const fresh = rowOf(row, line);
          if (element) element.replaceWith(fresh);
          else parent.insertBefore(fresh, next);
          elements.set(row, fresh);
          if (element === next) next = fresh;
          element = fresh;
        }
        if (element !== next) parent.insertBefore(element, next);
        next = element.nextSibling;
        const isLinked = linked.value && line && line.n >= linked.value.from && line.n <= linked.value.to;
        element.classList.toggle("linked", Boolean(isLinked));
        element.classList.toggle("hit", row === currentHit());
      }
    }

    function rowOf(row, line) {
      const element = document.createElement("div");
      element.className = `log-row ${line ? line.s : "wait"}`;
      Object.assign(element, { line, version, row });
      const number = document.createElement("a");
      number.className = "log-n";
      number.tabIndex = -1;
      number.textContent = !line ? "" : line.rest ? "↳" : line.n;
      if (line) number.href = hashOf({ stream: state.stream, from: line.n, to: line.n });
      element.append(number);
      number.title = [line?.rest && `line ${count(line.n)} goes on`, line?.s === "e" && "standard error"].filter(Boolean).join(", ");
      if (state.clock !== "off") {
        const time = document.createElement("span");
        time.className = "log-t";
        time.textContent = line ? timeOf(line, lines.get(row - 1), state.clock, props.started) : "";
        element.append(time);
      }
      const body = document.createElement("span");
      body.className = "log-x";
      if (line) body.append(...pieces(line.text).map(drawn));
      element.append(body);
      if (line?.frames) {
        const chip = document.createElement("button");
        chip.className = "log-f";
        chip.type = "button";
        chip.tabIndex = -1;
        chip.textContent = `+${count(line.frames)} overwritten`;
        chip.title = "Show what was overwritten";
        element.append(chip);
      }
      return element;
    }

    // Fetching: only what is seen, one request at a time; what is not seen any more is not waited for

    function need(first, last) {
      let missing = first;
      while (missing < last && lines.has(missing)) missing += 1;
      if (missing >= last || (asked && asked.first >= 0 && missing >= asked.first && missing < asked.first + AT_ONCE)) return;
      const isAbove = lines.has(last - 1);
      const from = isAbove ? Math.max(0, last - AT_ONCE) : missing;
      fetchLines({ from: (isAbove ? Math.max(from, 0) : from) + 1, count: AT_ONCE }, from);
    }

    async function fetchLines(wanted, first = -1) {
      asked?.stop.abort();
      const stop = new AbortController();
      const answer = getJson(url("log.json", { ...wanted, frames: framed() }), { signal: stop.signal });
      const mine = (asked = { stop, first, answer });
      let told = null;
      try {
        told = await answer;
      } catch (error) {
        if (error.name !== "AbortError" && !isOver && asked === mine) {
          state.trouble = error.message;
          setTimeout(askAgain, RETRY);
        }
      }
      if (isOver || asked !== mine) return null;
      asked = null;
      if (told) take(told);
      return told;
    }

    /** Ask for what is missing: rows that are seen, or all. */
    function askAgain() {
      if (state.loaded) draw();
      else if (!isOver && !asked) begin();
    }

    /** A line as it was before, if it has not changed: what is drawn of it can stay. */
    const same = (before, line) =>
      before && ["text", "n", "frames", "s", "rest"].every((name) => before[name] === line[name])
        ? before
        : line;

    function take(told) {
      state.trouble = "";
      if (told.total < state.total) lines = new Map(); // it was begun anew
      told.lines.forEach((line, i) => lines.set(told.first - 1 + i, same(lines.get(told.first - 1 + i), line)));
      for (const row of lines.keys()) {
        if (lines.size <= KEPT) break;
        if (Math.abs(row - position) > 1000) lines.delete(row);
      }
      const { total, numbered, bytes, sizes, growing, whole, looked, timed, removed } = told;
      Object.assign(state, { total, numbered, bytes, sizes, growing, whole, looked, timed, removed, loaded: true });
      if (!state.follow && state.seen > numbered) state.seen = numbered;
      if (state.follow) draw();
      else redraw(); // somebody has gone there and waits: what has come is in the next picture, not in the one after it
      if (!whole) refresh();
    }

    // Growth: told by the socket, looked at a few times a second at most

    let isWanted = false;
    let isBusy = false;
    let lastLook = 0;

    async function refresh() {
      isWanted = true;
      if (isBusy) return;
      isBusy = true;
      while (isWanted && !isOver && !document.hidden) {
        const pause = PAUSE - (performance.now() - lastLook);
        if (pause > 0) await new Promise((done) => setTimeout(done, pause));
        else if (asked) await asked.answer.catch(() => {}); // what somebody waits for comes first
        else {
          isWanted = false;
          lastLook = performance.now();
          await look();
        }
      }
      isBusy = false;
    }

    /** Fetch what is seen of the end, or, where the end is not seen, only how far it has come. */
    async function look() {
      if (isOver || document.hidden) return;
      const rows = Math.ceil(height / ROW) + 3;
      const before = state.total;
      const seesEnd = state.follow || position + rows >= before - UNSURE;
      if (!seesEnd) for (let row = Math.max(0, before - UNSURE); row < before; row += 1) lines.delete(row);
      const wanted = state.follow
        ? { from: -(rows + 5), count: rows + 5 }
        : seesEnd
          ? { from: Math.max(1, Math.floor(position) - 2), count: rows + UNSURE }
          : { from: before + 1, count: 1 };
      const first = state.follow ? -1 : wanted.from - 1;
      await fetchLines(wanted, seesEnd && !state.follow ? first : -1);
    }

    const shown = () => isWanted && refresh();

    following({ task: props.uid }, { grew: (told) => told.uid === props.uid && refresh() }, refresh);
    watch(() => props.started, anew);
    watch(() => props.running, (now) => {
      if (now) state.growing = true;
      refresh();
    });

    // Places

    function goToRow(row) {
      state.follow = false;
      state.seen = state.numbered;
      if (state.wrap) place((row / Math.max(1, state.total)) * span());
      else if (row < position + 2 || row > position + height / ROW - 3) place(row - height / ROW / 3);
      draw();
    }

    async function goToLine(number) {
      if (state.total === state.numbered) return goToRow(number - 1); // each line is a row
      const told = await fetchLines({ at: number, count: AT_ONCE });
      if (told) goToRow(told.first - 1);
    }

    async function goToTime(time) {
      const told = await fetchLines({ time: Math.max(0, Math.round(time)), count: AT_ONCE });
      if (told) goToRow(told.first - 1);
    }

    function goToEnd() {
      state.follow = state.growing;
      place(span());
      if (state.growing) refresh();
    }

    function goToTop() {
      state.follow = false;
      state.seen = state.numbered;
      place(0);
    }

    async function goToError() {
      const address = url("search.json", { error: 1, frames: framed() });
      try {
        const told = await getJson(address);
        if (isOver || address !== url("search.json", { error: 1, frames: framed() })) return; // other lines by now
        if (!told.count) toast("No line tells of an error.");
        else {
          goToRow(told.lines[0] - 1);
          flash(told.lines[0] - 1);
        }
      } catch (error) {
        toast(error.message, "bad");
      }
    }

    let flashed = -1;
    function flash(row) {
      flashed = row;
      draw();
    }

    expose({ goToTime, goToLine, goToError });

    // Links to lines

    function fromHash() {
      const now = linesIn(location.hash);
      linked.value = now;
      if (!now) return false;
      if (now.stream !== state.stream) setStream(now.stream);
      state.follow = false;
      waitLoaded(() => goToLine(Math.min(now.from, Math.max(1, state.numbered))));
      return true;
    }

    function waitLoaded(call) {
      if (state.loaded) call();
      else {
        const stop = watch(() => state.loaded, () => (stop(), call()), { flush: "post" });
      }
    }

    function link(number, extend) {
      const now = { stream: state.stream, from: number, to: number };
      if (extend && linked.value) {
        now.from = Math.min(linked.value.from, number);
        now.to = Math.max(linked.value.to, number);
      }
      linked.value = now;
      history.replaceState(history.state, "", hashOf(now));
      draw();
    }

    function clicked(event) {
      const row = event.target.closest(".log-row");
      if (!row?.line) return;
      if (event.target.closest(".log-f")) {
        setFrames(true, row.line.n);
      } else if (event.target.closest(".log-n") && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        link(row.line.n, event.shiftKey);
      }
      if (row.line.t !== null) emit("time", row.line.t);
    }

    function pointed(event) {
      const row = event.target.closest?.(".log-row");
      if (row?.line && row.line.t !== null) emit("time", row.line.t);
    }

    // Search

    let search = 0;
    let searchStop = null;
    let searchTimer = 0;

    function typed(text) {
      state.words = text;
      clearTimeout(searchTimer);
      searchTimer = setTimeout(() => seek(true), 180);
    }

    async function seek(jump) {
      clearTimeout(searchTimer);
      searchStop?.abort();
      const mine = (search += 1);
      if (!state.words) {
        found.value = null;
        state.hit = -1;
        state.searching = false;
        draw();
        return;
      }
      searchStop = new AbortController();
      state.searching = true;
      const flag = (is) => (is ? 1 : "");
      const wanted = { q: state.words, regex: flag(state.regex), case: flag(state.upper), frames: framed() };
      try {
        const told = await getJson(url("search.json", wanted), { signal: searchStop.signal });
        if (mine !== search) return;
        found.value = { ...told, words: wanted.q };
        state.hit = -1;
        if (jump && told.lines.length) nextHit(1, true);
      } catch (error) {
        if (error.name === "AbortError" || mine !== search) return;
        found.value = { count: 0, lines: [], trouble: error.message };
      }
      state.searching = false;
      draw();
    }

    const currentHit = () =>
      state.hit >= 0 && found.value ? found.value.lines[state.hit] - 1 : flashed;

    /** Go to the next match, or the one before; at first to the next from what is seen. */
    function nextHit(step, fromHere = false) {
      const every = found.value?.lines;
      if (!every?.length) return;
      if (state.hit < 0 || fromHere) {
        const after = every.findIndex((number) => number - 1 >= Math.floor(position));
        state.hit = step > 0 ? (after < 0 ? 0 : after) : (after <= 0 ? every.length : after) - 1;
      } else state.hit = (state.hit + step + every.length) % every.length;
      goToRow(every[state.hit] - 1);
    }

    function clearSearch() {
      state.words = "";
      flashed = -1;
      seek(false);
      view.value.focus({ preventScroll: true });
    }

    function searchKey(event) {
      if (event.key === "Enter") {
        event.preventDefault();
        if (found.value?.words === state.words && !state.searching) nextHit(event.shiftKey ? -1 : 1);
        else seek(true);
      } else if (event.key === "Escape") {
        event.stopPropagation();
        clearSearch();
      }
    }

    function toSearch() {
      const chosen = String(getSelection());
      if (chosen && !chosen.includes("\n") && chosen.length < 200 && pane.value.contains(getSelection().anchorNode))
        typed(chosen);
      field.value.focus();
      field.value.select();
    }

    function controlF(event) {
      if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey || event.key.toLowerCase() !== "f") return;
      if (document.querySelector("dialog[open]") || document.activeElement === field.value) return;
      event.preventDefault();
      toSearch();
    }

    // Marks in yellow: ranges over the text as it is, nothing in the page changes

    function highlight(first, last) {
      if (!globalThis.CSS?.highlights) return;
      const every = [];
      const current = [];
      const find = finder();
      if (find)
        for (let row = first; row < last; row += 1) {
          const body = elements.get(row)?.querySelector(".log-x");
          if (body?.textContent) (row === currentHit() ? current : every).push(...ranges(body, find));
        }
      set("log-search", every, 0);
      set("log-current", current, 1);
    }

    function set(name, list, priority) {
      const marks = new Highlight(...list);
      marks.priority = priority;
      CSS.highlights.set(name, marks);
    }

    /** What gives the matches in a text as [start, end]; null if there is nothing to look for. */
    function finder() {
      if (!found.value?.count || !state.words) return null;
      if (state.regex && found.value.truncated) return null; // it took the server too long: it would take us, too
      let pattern;
      try {
        const source = state.regex ? state.words : state.words.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
        pattern = new RegExp(source, state.upper ? "g" : "gi");
      } catch {
        return null;
      }
      return (text) =>
        (state.regex && text.length > 4000 ? [] : [...text.matchAll(pattern)].slice(0, 1000))
          .filter((match) => match[0])
          .map((match) => [match.index, match.index + match[0].length]);
    }

    function ranges(body, find) {
      const spots = find(body.textContent);
      if (!spots.length) return [];
      const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
      const nodes = [];
      for (let at = 0, node; (node = walker.nextNode()); at += node.length) nodes.push([at, node]);
      const spot = (offset, isEnd) => {
        const [at, node] = nodes.findLast(([begin]) => (isEnd ? begin < offset : begin <= offset));
        return [node, offset - at];
      };
      return spots.map(([start, end]) => {
        const range = new Range();
        range.setStart(...spot(start, false));
        range.setEnd(...spot(end, true));
        return range;
      });
    }

    // Settings

    function anew() {
      version += 1;
      draw();
    }

    function forget() {
      lines = new Map();
      elements.forEach((element) => element.remove());
      elements = new Map();
      state.total = 0;
      state.loaded = false;
    }

    function setStream(stream) {
      state.stream = stream;
      forget();
      begin();
      if (state.words) seek(false);
    }

    let framedAt = 1; // the line that was at the top: while it is fetched again, no other is
    async function setFrames(on, line) {
      framedAt = line || lines.get(Math.floor(position))?.n || framedAt;
      const follow = state.follow;
      state.frames = on;
      forget();
      if (state.words) seek(false);
      const told = await fetchLines({ at: framedAt, count: AT_ONCE });
      if (!told) return; // something else was asked for meanwhile
      if (!follow) goToRow(told.first - 1);
      state.follow = follow && !line;
      draw();
    }

    function setClock(clock) {
      state.clock = clock;
      recall("log.clock", clock);
      anew();
    }

    function setWrap() {
      state.wrap = !state.wrap;
      recall("log.wrap", state.wrap ? "yes" : "no");
      requestAnimationFrame(draw);
    }

    function setFollow() {
      if (state.follow) stopFollowing();
      else goToEnd();
    }

    async function copyLines() {
      const chosen = String(getSelection());
      if (chosen && pane.value.contains(getSelection().anchorNode)) return copy(chosen, "Copied the selection");
      const [from, to] = linked.value ? [linked.value.from, linked.value.to] : [1, state.numbered];
      const tooMany = () => toast(`More than ${count(COPIED)} lines: download them instead.`, "bad");
      if (to - from >= COPIED) return tooMany();
      let rows = [];
      const stream = streamed();
      try {
        for (let next = { at: from }; next; ) {
          const told = await getJson(url("log.json", { stream, ...next, count: Math.min(2000, to - from + 2) }));
          const wanted = told.lines.filter((line) => line.n >= from && line.n <= to);
          rows = rows.concat(wanted);
          if (rows.length > COPIED) return tooMany(); // pieces of long lines
          next = wanted.length && wanted.length === told.lines.length ? { from: told.first + told.lines.length } : null;
        }
      } catch (error) {
        return toast(error.message, "bad");
      }
      const text = rows.map((line) => (line.rest ? "" : "\n") + pieces(line.text).map((piece) => piece.text).join("")).join("");
      const number = rows.filter((line) => !line.rest).length;
      copy(`${text.slice(1)}\n`, number === 1 ? "Copied 1 line" : `Copied ${count(number)} lines`);
    }

    // Life

    async function begin() {
      const hash = linesIn(location.hash);
      height = view.value.clientHeight;
      if (state.follow) await fetchLines({ from: -Math.ceil(height / ROW + 50), count: AT_ONCE });
      else if (hash && hash.stream === state.stream && !state.frames)
        await fetchLines({ from: Math.max(1, hash.from - 100), count: AT_ONCE }, Math.max(0, hash.from - 101));
      else await fetchLines({ from: 1, count: AT_ONCE }, 0);
    }

    let polling = 0;
    let watcher = null;
    onMounted(() => {
      const isLinked = fromHash();
      if (!isLinked || linked.value.stream === "both") begin();
      watcher = new ResizeObserver(draw);
      watcher.observe(view.value);
      view.value.addEventListener("scroll", scrolled, { passive: true });
      addEventListener("hashchange", fromHash);
      document.addEventListener("keydown", controlF);
      document.addEventListener("visibilitychange", shown);
      polling = setInterval(() => {
        if (state.growing && performance.now() - lastLook > POLL) refresh();
      }, POLL / 2);
    });
    onUnmounted(() => {
      isOver = true;
      asked?.stop.abort();
      searchStop?.abort();
      watcher.disconnect();
      cancelAnimationFrame(frame);
      clearInterval(polling);
      clearTimeout(settling);
      clearTimeout(searchTimer);
      removeEventListener("hashchange", fromHash);
      document.removeEventListener("keydown", controlF);
      document.removeEventListener("visibilitychange", shown);
      globalThis.CSS?.highlights?.clear();
    });
    keys([
      ["/", "search the log", toSearch],
      ["n", "next match", () => nextHit(1)],
      ["N", "match before", () => nextHit(-1)],
      ["f", "follow the log", setFollow],
      ["E", "first error in the log", goToError],
      ["T", "top of the log", goToTop],
      ["G", "end of the log", goToEnd],
      ["W", "wrap long lines", setWrap],
    ]);

    // What is seen

    const toggle = (word, title, on, call, extra = "") => html`
      <button
        type="button"
        class=${`plain log-toggle ${extra}`}
        aria-pressed=${on ? "true" : "false"}
        title=${title}
        aria-label=${title}
        onClick=${call}
      >
        ${word}
      </button>
    `;

    function tally() {
      const { value } = found;
      if (!state.words) return "";
      if (!value || (state.searching && value.words !== state.words)) return "…";
      if (value.trouble) return "";
      if (!value.count) return value.truncated ? "none in the time there was" : "no match";
      const most = `${count(value.count)}${value.truncated ? "+" : ""}`;
      return state.hit < 0 ? `${most} line${value.count > 1 ? "s" : ""}` : `${count(state.hit + 1)} of ${most}`;
    }

    const Search = () => html`
      <div class="log-search" role="search">
        <${Icon} name="search" />
        <input
          ref=${field}
          type="search"
          placeholder="Search this log"
          aria-label="Search this log"
          autocomplete="off"
          autocapitalize="off"
          spellcheck="false"
          value=${state.words}
          onInput=${(event) => typed(event.target.value)}
          onKeydown=${searchKey}
        />
        ${toggle("Aa", "Match case", state.upper, () => ((state.upper = !state.upper), seek(true)))}
        ${toggle(".*", "Regular expression", state.regex, () => ((state.regex = !state.regex), seek(true)))}
        <span class="log-count" role="status">${tally()}</span>
        <button type="button" class="plain" title="Match before (N)" aria-label="Match before" disabled=${!found.value?.count} onClick=${() => nextHit(-1)}>↑</button>
        <button type="button" class="plain" title="Next match (n)" aria-label="Next match" disabled=${!found.value?.count} onClick=${() => nextHit(1)}>↓</button>
      </div>
    `;

    const hasBoth = () => (state.sizes.stdout && state.sizes.stderr) || state.stream !== "both";

    const Settings = () => html`
      <div class="log-settings">
        ${
          hasBoth() &&
          html`<select aria-label="Streams" title="Streams" value=${state.stream} onChange=${(event) => setStream(event.target.value)}>
            <option value="both" selected=${state.stream === "both"}>both streams</option>
            <option value="stdout" selected=${state.stream === "stdout"}>stdout</option>
            <option value="stderr" selected=${state.stream === "stderr"}>stderr</option>
          </select>`
        }
        ${
          state.timed &&
          html`<select aria-label="Times" title="Times" value=${state.clock} onChange=${(event) => setClock(event.target.value)}>
            ${CLOCKS.map(([name, word]) => html`<option value=${name} selected=${state.clock === name}>${word}</option>`)}
          </select>`
        }
        ${toggle("wrap", "Wrap long lines (W)", state.wrap, setWrap)}
        ${toggle("frames", "Show overwritten frames of progress bars", state.frames, () => setFrames(!state.frames))}
        ${state.growing && toggle("follow", "Follow the end (f)", state.follow, setFollow)}
        <span class="log-gap"></span>
        <button type="button" class="plain" title="First error (E)" onClick=${goToError}>first error</button>
        <button type="button" class="plain" title="Top (T)" onClick=${goToTop}>top</button>
        <button type="button" class="plain" title="End (G)" onClick=${goToEnd}>end</button>
        <button type="button" class="plain" title="Copy the selection, the linked lines, or all" onClick=${copyLines}>copy</button>
        <a class="plain" title="Download, byte for byte; secrets are covered" href=${url("log.txt", { view: "raw" })} download>raw</a>
        <a class="plain" title="Download as shown here: lines as text, with the chosen times" href=${url("log.txt", { view: "shown", clock: state.clock === "off" ? "" : state.clock, frames: framed() })} download>text</a>
      </div>
    `;

    function nothing() {
      if (state.trouble) return state.trouble;
      if (!state.loaded) return "";
      if (state.removed) return `The output (${size(state.removed)}) was removed by qrec gc.`;
      if (state.stream !== "both") return `Nothing on ${state.stream}.`;
      return state.growing ? "Nothing printed yet." : "It printed nothing.";
    }

    const Pill = () => {
      const fresh = state.numbered - state.seen;
      if (state.follow || !state.growing || fresh <= 0) return null;
      const words = `${count(fresh)} new line${fresh > 1 ? "s" : ""} ↓`;
      return html`<button type="button" class="log-pill" onClick=${goToEnd}>${words}</button>`;
    };

    const Foot = () => html`
      <p class="log-foot">
        <span>${state.frames ? `${count(state.total)} frames` : some(state.numbered, "line")}, ${size(state.bytes)}</span>
        ${!state.frames && state.total > state.numbered && html`<span>Long lines go on in other rows (↳), ${count(state.total)} in all.</span>`}
        ${!state.whole && html`<span>read so far: ${size(state.looked)}</span>`}
        ${found.value?.trouble && html`<span class="bad">${found.value.trouble}</span>`}
        ${found.value?.truncated && html`<span>There may be more matches than are counted.</span>`}
        ${state.trouble && state.total > 0 && html`<span class="bad">${state.trouble}</span>`}
      </p>
    `;

    return () => html`
      <section class=${`log ${state.wrap ? "wraps" : ""}`} aria-label="Output">
        <div class="log-bar">${Search()}${Settings()}</div>
        <div class="log-box">
          <div
            class="log-view"
            ref=${view}
            tabindex="0"
            role="log"
            aria-live="off"
            aria-label="Output"
            onClick=${clicked}
            onMouseover=${pointed}
            onMouseleave=${() => emit("time", null)}
          >
            <div class="log-space" ref=${space}>
              <div class="log-pane" ref=${pane}><div class="log-rows"></div></div>
            </div>
          </div>
          ${!state.total && html`<p class="log-empty">${nothing()}</p>`}
          ${Pill()}
        </div>
        ${Foot()}
      </section>
    `;
  },
};
