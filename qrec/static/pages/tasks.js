// The list of tasks.  What is shown is said by the address alone: filters, order and page are its parameters.

import {
  Copy,
  Empty,
  Glyph,
  Header,
  Icon,
  Status,
  Time,
  Took,
  STATUSES,
  Trouble,
  attempt,
  backToPlace,
  calmly,
  computed,
  confirm,
  copy,
  count,
  duration,
  following,
  getJson,
  html,
  isFinal,
  keys,
  mount,
  move,
  oneLine,
  onMounted,
  onUnmounted,
  post,
  query,
  readOnly,
  reactive,
  ref,
  rowNow,
  shallowReactive,
  shallowRef,
  size,
  toast,
  watch,
  whereabouts,
  worthTelling,
} from "/static/lib.js";

const SINCE = [["", "any time"], ["1h", "last hour"], ["24h", "last 24 hours"], ["7d", "last 7 days"], ["30d", "last 30 days"]];
const MORE = [
  ["tag", "Tag", "nightly"],
  ["host", "Host", "node7"],
  ["user", "User", "ada"],
  ["queue", "Queue", "default"],
  ["cwd", "Folder", "/home/ada/project"],
  ["code", "Exit code", "2"],
  ["longer", "Longer than", "10m"],
  ["mem_over", "Memory over", "2GB"],
  ["until", "Until", "2026-11-20"],
];
const NAMES = ["q", "status", "executor", "since", ...MORE.map(([name]) => name)];
const PLACE = ["sort", "order", "after"];
const LOOK = 5000; // ms between two looks at the last lines of what runs
const LOWEST = 25; // pixels of a row, at least
const SOON = 50; // ms after the rows in the window until the others are drawn
const ANSWERED = 100; // ms that the page waits for its first rows before it is drawn without them
const TYPED = 180; // ms after the last key until a search is sent

function fromAddress() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries([...NAMES, ...PLACE].map((name) => [name, given.getAll(name).join(",")]));
}

const chosen = reactive(fromAddress());
const rows = shallowRef([]);
const answer = shallowRef(null); // the newest one: counts, total, where the next page is
const waiting = shallowRef([]); // tasks that would be on this page, shown when somebody asks for them
const gone = shallowReactive(new Set()); // uids of rows that were deleted since
const selected = shallowReactive(new Set());
const trouble = ref("");
const loading = ref(true);
const going = ref(0); // rows that there are going to be in a moment; 0 when all are shown
const executors = shallowRef([]);

const filtered = computed(() => NAMES.some((name) => chosen[name]));
const firstPage = computed(() => !chosen.after);
const plain = computed(() => !filtered.value && firstPage.value && !chosen.sort);

const addressOf = (changes = {}) => `/tasks${query({ ...chosen, ...changes })}`;
const dataAddress = () => `/tasks.json${query({ limit: 100, ...chosen })}`;

const phone = matchMedia("(max-width: 700px)");
const narrow = ref(phone.matches); // as the style sheet has it: columns make room for a line of their own
phone.addEventListener("change", () => (narrow.value = phone.matches));

// Loading

let request = null;

async function fetchPage() {
  request?.abort();
  request = new AbortController();
  return getJson(dataAddress(), { signal: request.signal });
}

/** What the browser has asked for while the modules were loading, as the page told it to; null if nothing came. */
async function takeAhead() {
  const link = document.querySelector("link[rel=preload][as=fetch]");
  if (!link) return null;
  link.remove();
  return fetch(link.href).then((answer) => (answer.ok ? answer.json() : null), () => null);
}

let ahead = takeAhead();
let loads = 0;

/** Show the page that the address names; `isBack` says that somebody may come back to it. */
async function load({ isBack = false } = {}) {
  const mine = (loads += 1);
  loading.value = true;
  const early = ahead; // what it tells is good for the address that was opened
  ahead = null;
  try {
    const told = (await early) || (mine === loads && (await fetchPage()));
    if (mine === loads) await showAtFirst(told);
    if (mine !== loads) return;
    show(told);
    trouble.value = "";
    if (isBack) backToPlace();
  } catch (error) {
    if (error.name === "AbortError" || mine !== loads) return;
    trouble.value = error.message;
  }
  loading.value = false;
  if (changed.size) updateSoon();
}

/** Show of an answer what fits into the window; whether there is more of it. */
function showWindow({ tasks }) {
  const few = Math.ceil(innerHeight / LOWEST) + 1;
  if (tasks.length <= few) return false;
  going.value = tasks.length;
  rows.value = tasks.slice(0, few);
  return true;
}

/** The same, which is drawn sooner than all of it, and time to draw it. */
async function showAtFirst(told) {
  if (!showWindow(told)) return;
  await new Promise((done) => setTimeout(done, SOON));
  going.value = 0;
}

function show(told) {
  answer.value = told;
  rows.value = told.tasks;
  waiting.value = [];
  gone.clear();
  for (const uid of [...selected]) if (!told.tasks.some((task) => task.uid === uid)) selected.delete(uid);
}

/** Take in changes: rows stay where they are, new ones wait until they are asked for. */
async function update() {
  if (loading.value) return;
  const uids = new Set(changed);
  const before = loads;
  changed.clear();
  let told;
  try {
    told = await fetchPage();
  } catch (error) {
    if (error.name !== "AbortError") uids.forEach((uid) => changed.add(uid));
    return;
  }
  if (!rows.value.length) return show(told);
  const now = new Map(told.tasks.map((task) => [task.uid, task]));
  const left = rows.value.filter((task) => uids.has(task.uid) && !now.has(task.uid) && !gone.has(task.uid)).slice(0, 20);
  await Promise.all(left.map((task) => lookAt(task.uid, now)));
  if (before !== loads) return; // another page is shown by now
  const shown = new Set(rows.value.map((task) => task.uid));
  answer.value = told;
  const isNew = ({ uid }) => now.has(uid) && !changed.has(uid); // of the others an event has told more since
  rows.value = rows.value.map((task) => (isNew(task) ? { ...task, ...now.get(task.uid) } : task));
  waiting.value = firstPage.value ? told.tasks.filter((task) => !shown.has(task.uid)) : [];
}

/** A row that is not on this page any more: how its task stands. */
async function lookAt(uid, now) {
  try {
    now.set(uid, (await getJson(`/tasks/${uid}.json`)).task);
  } catch (error) {
    if (error.status === 404) gone.add(uid);
  }
}

const changed = new Set();
const updateSoon = calmly(update, 300);

/** A change: what the event tells is shown at once, counts and the rest when they have been fetched. */
function onChanged({ events = [], tasks = [] }) {
  const told = new Map(tasks.map((task) => [task.uid, task]));
  rows.value = rows.value.map((task) => (told.has(task.uid) ? { ...task, ...told.get(task.uid) } : task));
  const shown = new Set([...rows.value, ...waiting.value].map((task) => task.uid));
  for (const event of events) {
    changed.add(event.uid);
    if (event.kind === "removed" && shown.has(event.uid)) {
      gone.add(event.uid);
      selected.delete(event.uid);
    }
    if (event.kind === "added" && plain.value && rows.value.length && !shown.has(event.uid)) {
      shown.add(event.uid);
      waiting.value = [told.get(event.uid) || event, ...waiting.value];
    }
  }
  updateSoon();
}

function showWaiting() {
  load();
  window.scrollTo({ top: 0 });
}

// Choosing what is shown

/** Change filters, order or page, and with them the address. */
function choose(changes, { replace = false } = {}) {
  Object.assign(chosen, { after: "", ...changes });
  if (chosen.q) Object.assign(chosen, { sort: "", order: "" }); // what was searched for comes newest first
  history[replace ? "replaceState" : "pushState"](null, "", addressOf());
  load();
}

window.addEventListener("popstate", () => {
  Object.assign(chosen, fromAddress());
  load({ isBack: true });
});

let typing = 0;
let typedSince = false;
function onSearch(text, entered) {
  clearTimeout(typing);
  const send = () => {
    if (text.trim() === chosen.q) return;
    choose({ q: text.trim() }, { replace: typedSince });
    typedSince = !entered;
  };
  if (entered) send();
  else typing = setTimeout(send, TYPED);
}

const link = (changes) => ({
  href: addressOf({ after: "", ...changes }),
  onClick: (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    choose(changes);
  },
});

const clearFilters = () => choose(Object.fromEntries(NAMES.map((name) => [name, ""])));

const StatusCounts = () => {
  const counts = answer.value?.counts || {};
  const names = worthTelling(counts, chosen.status);
  const number = (name) => (counts[name] === null || counts[name] === undefined ? "" : count(counts[name]));
  return html`
    <nav class="counts" aria-label="Tasks by status" aria-live="polite">
      <a ...${link({ status: "" })} aria-current=${chosen.status ? null : "true"}>All <b>${number("all")}</b></a>
      ${names.map(
        (name) => html`
          <a
            key=${name}
            ...${link({ status: chosen.status === name ? "" : name })}
            class=${counts[name] ? "" : "none"}
            aria-current=${chosen.status === name ? "true" : null}
          >
            <${Glyph} of=${name} />${name} <b>${number(name)}</b>
          </a>
        `,
      )}
    </nav>
  `;
};

const Select = (props) => html`
  <label class="select">
    <span>${props.label}</span>
    <select aria-label=${props.label} value=${props.value} onChange=${(event) => props.choose(event.target.value)}>
      ${props.options.map(
        ([value, word]) => html`<option value=${value} selected=${value === props.value}>${word}</option>`,
      )}
    </select>
  </label>
`;
Select.props = ["label", "value", "options", "choose"];

const Filters = {
  setup() {
    const open = ref(false);
    const drafts = reactive({});
    watch(open, () => MORE.forEach(([name]) => (drafts[name] = chosen[name])));
    const apply = (event) => {
      event.preventDefault();
      open.value = false;
      choose({ ...drafts });
    };
    const known = (options, value) =>
      !value || options.some(([one]) => one === value) ? options : [...options, [value, value]];
    return () => html`
      <div class="filters">
        <${StatusCounts} />
        <div class="choices">
          ${filtered.value && rows.value.length > 0 && html`<button class="link" onClick=${clearFilters}>Clear filters</button>`}
          <${Select}
            label="Since"
            value=${chosen.since}
            options=${known(SINCE, chosen.since)}
            choose=${(since) => choose({ since })}
          />
          <${Select}
            label="Executor"
            value=${chosen.executor}
            options=${known([["", "any"], ...executors.value.map((name) => [name, name])], chosen.executor)}
            choose=${(executor) => choose({ executor })}
          />
          <button aria-expanded=${open.value ? "true" : "false"} onClick=${() => (open.value = !open.value)}>
            More filters
          </button>
        </div>
        ${
          open.value &&
          html`<form class="more" onSubmit=${apply}>
            ${MORE.map(
              ([name, label, hint]) => html`
                <label key=${name}>
                  <span>${label}</span>
                  <input
                    name=${name}
                    value=${drafts[name]}
                    placeholder=${`e.g. ${hint}`}
                    autocomplete="off"
                    onInput=${(event) => (drafts[name] = event.target.value.trim())}
                  />
                </label>
              `,
            )}
            <div class="buttons"><button type="submit" class="primary">Apply</button></div>
          </form>`
        }
        ${
          MORE.some(([name]) => chosen[name]) &&
          html`<p class="chips">
            ${MORE.filter(([name]) => chosen[name]).map(
              ([name, label]) => html`
                <button key=${name} class="chip" onClick=${() => choose({ [name]: "" })}>
                  ${label}: ${chosen[name]} <span aria-hidden="true">✕</span><span class="hidden">, remove</span>
                </button>
              `,
            )}
          </p>`
        }
      </div>
    `;
  },
};

// Rows

const historyOf = (runs = []) => {
  if (runs.length < 2) return null;
  const longest = Math.max(...runs.map((run) => run.seconds || 0), 0.001);
  const failed = runs.filter((run) => run.status === "failed").length;
  const words = `Last ${runs.length} runs of this command: ${failed} failed, longest ${duration(longest)}`;
  return html`
    <svg class="bars" width="90" height="18" viewBox="0 0 90 18" role="img" aria-label=${words}>
      <title>${words}</title>
      ${Object.entries(strokes(runs.slice(-30), longest)).map(([status, path]) => html`<path key=${status} class=${status} d=${path} />`)}
    </svg>
  `;
};

/** A path for each status, with a stroke for each run: thousands of rectangles would be slow to lay out. */
function strokes(runs, longest) {
  const paths = {};
  runs.forEach((run, at) => {
    const high = Math.max(2.5, (16 * (run.seconds || 0)) / longest);
    paths[run.status] = `${paths[run.status] || ""}M${(30 - runs.length + at) * 3 + 1} 17v-${high.toFixed(1)}`;
  });
  return paths;
}

let lastTouched = null;

function toggle(task, event) {
  const to = !selected.has(task.uid);
  const uids = rows.value.map((row) => row.uid);
  const [from, until] = [uids.indexOf(lastTouched), uids.indexOf(task.uid)].sort((a, b) => a - b);
  const several = event?.shiftKey && from >= 0 ? uids.slice(from, until + 1) : [task.uid];
  for (const uid of several) to ? selected.add(uid) : selected.delete(uid);
  lastTouched = task.uid;
}

const Row = (props) => {
  const { task } = props;
  const isGone = gone.has(task.uid);
  const final = isFinal(task.status);
  return html`
    <tr data-uid=${task.uid} class=${[selected.has(task.uid) && "chosen", isGone && "gone"].filter(Boolean).join(" ")}>
      <td class="check">
        <input
          type="checkbox"
          aria-label=${`Select task ${task.number}`}
          checked=${selected.has(task.uid)}
          disabled=${isGone}
          onClick=${(event) => toggle(task, event)}
        />
      </td>
      <td class="number id">${task.number}</td>
      <td class="state">${Status({ of: task.status })}</td>
      <td class="what">
        <div>
          ${task.queue && task.name && html`<a class="job" tabindex="-1" href=${jobAddress(task)} title=${`Job ${task.name} of the queue ${task.queue}`}>${task.name}</a>`}
          <a class="command" href=${`/tasks/${task.number}`} title=${task.command}>${oneLine(task.command)}</a>
          ${(task.tags || []).map(
            (tag) => html`<a class="tag" key=${tag} tabindex="-1" ...${link({ tag })} title=${`Tagged ${tag}`}>${tag}</a>`,
          )}
          ${task.message && html`<span class="note" title=${task.message}>${oneLine(task.message)}</span>`}
          ${!final && task.last_line && html`<samp title="Its last line">${task.last_line}</samp>`}
        </div>
        ${narrow.value && html`<p class="brief">
          ${Status({ of: task.status, code: task.returncode })}<span>·</span>
          <${Time} at=${task.started || task.created} /><span>·</span>${took(task, final)}
        </p>`}
      </td>
      <td class="where">${task.executor}</td>
      <td class="host" title=${task.host}>${task.host}</td>
      <td class="when"><${Time} at=${task.started} /></td>
      <td class="number duration">${took(task, final)}</td>
      <td class="number memory">${memoryOf(task, final) || html`<span class="muted">–</span>`}</td>
      <td class="number exit">${task.returncode ?? html`<span class="muted">–</span>`}</td>
      <td class="history">${historyOf(task.history)}</td>
      ${!readOnly && html`<td class="act">${!isGone && actionOf(task, final)}</td>`}
    </tr>
  `;
};
Row.props = ["task"];

// Of what a row shows, only what counts on is a component: a hundred rows of ten would take their time.
const took = (task, final) => (final ? Took({ task }) : html`<${Took} task=${task} />`);

const jobAddress = (task) => `/queues/${encodeURIComponent(task.queue)}${query({ job: task.uid })}`;

/** What it used at its peak; of what runs, what it uses now. */
const memoryOf = (task, final) =>
  final || !task.uses?.memory
    ? size(task.usage?.memory)
    : html`<span class="counting" title="In use now">${size(task.uses.memory)}</span>`;

const actionOf = (task, final) =>
  final
    ? html`<button class="plain" title="Rerun" aria-label=${`Rerun task ${task.number}`} onClick=${() => rerun([task])}>
        ${Icon({ name: "rerun" })}
      </button>`
    : html`<button class="plain" title="Cancel" aria-label=${`Cancel task ${task.number}`} onClick=${() => cancel([task])}>
        ${Icon({ name: "stop" })}
      </button>`;

const COLUMNS = [
  ["number", "#", "number id"],
  ["", "Status", "state"],
  ["", "Command", "what"],
  ["", "Executor", "where"],
  ["", "Host", "host"],
  ["started", "Started", "when"],
  ["seconds", "Took", "number duration"],
  ["memory", "Memory", "number memory"],
  ["", "Exit", "number exit"],
  ["", "Last 30", "history"],
];

const Heading = (props) => {
  const [key, word, style] = props.column;
  if (!key) return html`<th scope="col" class=${style}>${word}</th>`;
  const current = (chosen.sort || "number") === key;
  const descending = (chosen.order || "desc") === "desc";
  const next = { sort: key, order: current && descending ? "asc" : "desc" };
  const plainly = next.sort === "number" && next.order === "desc" ? { sort: "", order: "" } : next;
  return html`
    <th scope="col" class=${style} aria-sort=${current ? (descending ? "descending" : "ascending") : null}>
      <button title=${`Sort by ${word === "#" ? "number" : word.toLowerCase()}`} onClick=${() => choose(plainly)}>
        ${word === "#" ? html`<span aria-hidden="true">#</span><span class="hidden">Number</span>` : word}
        ${current && html`<span aria-hidden="true">${descending ? "↓" : "↑"}</span>`}
      </button>
    </th>
  `;
};
Heading.props = ["column"];

const Table = () => html`
  <table class="tasks" aria-busy=${loading.value ? "true" : "false"}>
    <caption class="hidden">
      Tasks
    </caption>
    <thead>
      <tr>
        <th scope="col" class="check">
          <input
            type="checkbox"
            aria-label="Select all on this page"
            checked=${rows.value.length > 0 && selected.size === rows.value.length}
            onChange=${(event) => {
              selected.clear();
              if (event.target.checked) for (const task of rows.value) selected.add(task.uid);
            }}
          />
        </th>
        ${COLUMNS.map((column) => html`<${Heading} key=${column[1]} column=${column} />`)}
        ${!readOnly && html`<th class="act"><span class="hidden">Actions</span></th>`}
      </tr>
    </thead>
    <tbody>
      ${rows.value.map((task) => html`<${Row} key=${task.uid} task=${task} />`)}
    </tbody>
  </table>
`;

// Doing something with tasks

const commandsOf = (tasks) => {
  const lines = tasks.slice(0, 6).map((task) => `${task.number}  ${oneLine(task.command)}`);
  if (tasks.length > 6) lines.push(`and ${tasks.length - 6} more`);
  return lines.join("\n");
};
const some = (tasks) => (tasks.length === 1 ? `task ${tasks[0].number}` : `${count(tasks.length)} tasks`);

/** What is done to many tasks: asked for, for those it fits, told of, and shown in their rows. */
const inBulk = ({ action, word, done, fits, why, note = "", danger = false }) => async (tasks) => {
  const suited = tasks.filter(fits);
  if (!suited.length) return toast(`${tasks.length === 1 ? `Task ${tasks[0].number} is` : "These tasks are"} ${why}.`, "bad");
  const left = tasks.length - suited.length;
  const leaves = left ? `${count(left)} of the ${count(tasks.length)} selected ${left === 1 ? "is" : "are"} left out: ${why}.` : "";
  const sure = await confirm({
    title: `${word} ${some(suited)}?`,
    text: [leaves, note].filter(Boolean).join(" "),
    code: commandsOf(suited),
    facts: whereabouts(suited),
    action: suited.length === 1 ? word : `${word} ${count(suited.length)}`,
    danger,
  });
  if (!sure) return undefined;
  const told = await attempt(() => post("/api/bulk", { action, ids: suited.map((task) => task.uid) }));
  if (!told) return undefined;
  for (const task of suited) selected.delete(task.uid);
  for (const one of (told.failed || []).slice(0, 3)) toast(one.why, "bad");
  const number = told.done?.length ?? 0;
  if (number) toast(`${done} ${number === 1 ? "1 task" : `${count(number)} tasks`}.`);
  for (const uid of told.done || []) (action === "delete" ? gone : changed).add(uid);
  updateSoon();
  return told;
};

const OVER = { fits: (task) => isFinal(task.status), why: "still going on" };
const GOING_ON = { fits: (task) => !isFinal(task.status), why: "over" };
const OURS = "The environment is the dashboard's: that of the shell in which qrec start was typed.";
const rerun = inBulk({ action: "rerun", word: "Rerun", done: "Started", note: OURS, ...OVER });
const cancel = inBulk({ action: "cancel", word: "Cancel", done: "Cancelled", danger: true, ...GOING_ON });
const erase = inBulk({ action: "delete", word: "Delete", done: "Deleted", danger: true, ...OVER });

const selection = () => rows.value.filter((task) => selected.has(task.uid) && !gone.has(task.uid));

function compare() {
  const [first, second] = selection().toSorted((a, b) => a.number - b.number);
  location.assign(`/tasks/${second.number}?tab=compare&with=${first.number}`);
}

const Selection = () => {
  const tasks = selection();
  if (!tasks.length) return null;
  const button = (word, call, extra = {}) => html`<button key=${word} ...${extra} onClick=${() => call(tasks)}>${word}</button>`;
  return html`
    <div class="selection" role="region" aria-label="Selected tasks">
      <span role="status">${count(tasks.length)} selected</span>
      ${!readOnly && [button("Rerun", rerun), button("Cancel", cancel), button("Delete", erase)]}
      ${button("Compare", compare, { disabled: tasks.length !== 2, title: "Compare two tasks" })}
      ${button("Copy", (all) => copy(all.map((task) => task.command).join("\n"), "Commands copied"))}
      <button class="plain" onClick=${() => selected.clear()}>Clear</button>
    </div>
  `;
};

// Keyboard

const taskNow = () => rows.value.find((task) => task.uid === rowNow()?.dataset.uid);
const tasksNow = () => (selection().length ? selection() : [taskNow()].filter(Boolean));

const onTasks = (call) => () => {
  const tasks = tasksNow();
  if (tasks.length) call(tasks);
};

const SHORTCUTS = [
  ["j", "next task", () => move(1)],
  ["k", "task before", () => move(-1)],
  ["Enter", "open the task", () => (rowNow() && document.activeElement.type === "checkbox" ? open(taskNow()) : false)],
  ["x", "select the task", () => taskNow() && toggle(taskNow())],
  ["y", "copy the command", onTasks((tasks) => copy(tasks.map((task) => task.command).join("\n"), "Command copied"))],
  ["f", "failed tasks", () => choose({ status: chosen.status === "failed" ? "" : "failed" })],
  ["a", "all tasks", clearFilters],
  ["n", "show new tasks", () => waiting.value.length && showWaiting()],
  ["]", "older tasks", () => answer.value?.next && choose({ after: answer.value.next })],
  ["[", "newer tasks", () => answer.value?.previous && choose({ after: answer.value.previous })],
  ["Escape", "clear the selection", () => selected.clear()],
];
const open = (task) => location.assign(`/tasks/${task.number}`);
const CHANGES = [
  ["r", "rerun (asks)", onTasks(rerun)],
  ["c", "cancel (asks)", onTasks(cancel)],
  ["#", "delete (asks)", onTasks(erase)],
];

// The page

const Nothing = () =>
  filtered.value || !firstPage.value
    ? html`<${Empty} title="Nothing matches">
        <p><button onClick=${clearFilters}>Clear filters</button></p>
      <//>`
    : html`<${Empty} title="No tasks yet" command="qrec run -- echo hello">
        <p>Put <code>qrec run</code> in front of a command and it is recorded here, with its output, as it runs.</p>
      <//>`;

const Pages = () => {
  const { next, previous, total, partial, looked } = answer.value || {};
  if (!rows.value.length && !next) return null;
  const shown = count(going.value || rows.value.length);
  return html`
    <nav class="pages" aria-label="Pages of the list">
      <span class="muted">${total === null || total === undefined ? `${shown} shown` : `${shown} of ${count(total)}`}</span>
      ${partial && html`<span>Looked back as far as ${looked ? `task ${looked}` : "a moment allowed"}.</span>`}
      <span class="spring"></span>
      ${!firstPage.value && html`<a ...${link({ after: "" })}>Newest</a>`}
      ${previous && html`<a ...${pageLink(previous)}>‹ Newer</a>`}
      ${next && html`<a ...${pageLink(next)}>${partial ? "Look further" : "Older"} ›</a>`}
    </nav>
  `;
};

const pageLink = (after) => ({
  href: addressOf({ after }),
  onClick: (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    choose({ after });
    window.scrollTo({ top: 0 });
  },
});

const Tasks = {
  setup() {
    keys(readOnly ? SHORTCUTS : [...SHORTCUTS, ...CHANGES]);
    following({ tasks: true }, { changed: onChanged }, updateSoon);
    onMounted(() => load({ isBack: true }));
    onMounted(async () => {
      const told = await getJson("/executors.json").catch(() => null);
      executors.value = (told?.executors || []).map((one) => one.name || one);
    });
    // What runs prints without any change of its record.
    const looking = setInterval(() => {
      if (!document.hidden && rows.value.some((task) => task.status === "running")) updateSoon();
    }, LOOK);
    onUnmounted(() => clearInterval(looking));
    watch(
      () => answer.value?.counts?.running,
      (running) => (document.title = running ? `(${count(running)}) Tasks · qrec` : "Tasks · qrec"),
    );
    return () => html`
      <${Header} search=${chosen.q} onSearch=${onSearch} />
      <main id="main" class="tasks-page" tabindex="-1">
        <h1 class="hidden">Tasks</h1>
        <${Filters} />
        <${Trouble} of=${trouble.value} />
        ${trouble.value && filtered.value && !rows.value.length && html`<p><button onClick=${clearFilters}>Clear filters</button></p>`}
        <div class="pill-place" role="status">
          ${
            waiting.value.length > 0 &&
            html`<button class="pill" onClick=${showWaiting}>
              ↑ ${count(waiting.value.length)} new ${waiting.value.length === 1 ? "task" : "tasks"}
            </button>`
          }
        </div>
        ${rows.value.length ? html`<${Table} />` : !loading.value && !trouble.value && html`<${Nothing} />`}
        <${Pages} />
        <${Selection} />
      </main>
    `;
  },
};

// The rows are mostly there by now: to be drawn with all the rest takes half as long as after it.
const told = await Promise.race([ahead, new Promise((done) => setTimeout(done, ANSWERED))]);
if (told) showWindow(told);
mount(Tasks);
