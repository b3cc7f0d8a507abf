// A queue: its graph, its jobs as a list, and when they ran.  What is looked at is said by the address.

import {
  Copy,
  Empty,
  Glyph,
  Header,
  Icon,
  Status,
  Time,
  Took,
  Trouble,
  attempt,
  backToPlace,
  calmly,
  capital,
  computed,
  confirm,
  copy,
  count,
  draft,
  duration,
  following,
  getJson,
  html,
  isFinal,
  keys,
  mount,
  move,
  nextTick,
  oneLine,
  onMounted,
  page,
  post,
  query,
  readOnly,
  reactive,
  ref,
  rowNow,
  shallowRef,
  some,
  toast,
  turns,
  watch,
  whereabouts,
} from "/static/lib.js";
import { Gantt } from "/static/gantt.js";
import { Graph } from "/static/graph.js";
import { Counts, Progress, stateOf } from "/static/queueing.js";

const NAME = page.name;
const HERE = `/queues/${encodeURIComponent(NAME)}`;
const VIEWS = [["graph", "Graph"], ["list", "List"], ["timeline", "Timeline"]];
const PARAMETERS = ["view", "job", "focus", "hops", "unfold", "open", "status", "q", "finished", "n"];
const PAGE = 200; // rows of the list at first, and each time more are asked for
const LARGE = 500; // jobs above which changes are looked at less often
const word = /^[\w%+=:,./@-]+$/.test(NAME) ? NAME : `'${NAME.replaceAll("'", `'\\''`)}'`; // as a shell reads it

function fromAddress() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(PARAMETERS.map((name) => [name, given.get(name) || ""]));
}

const chosen = reactive(fromAddress());
const queue = shallowRef(null); // how it stands as a whole
const graph = shallowRef(null);
const list = shallowRef(null);
const timeline = shallowRef(null);
const job = shallowRef(null); // the chosen one: what it waits for and why
const apart = ref(""); // the job that was asked for where it stood in a group
const trouble = ref("");
const drawing = ref(null); // the graph's or the timeline's own doings

const view = computed(() => (VIEWS.some(([name]) => name === chosen.view) ? chosen.view : "graph"));
const addressOf = (changes = {}) => `${HERE}${query({ ...chosen, ...changes })}`;

function choose(changes, { replace = false } = {}) {
  Object.assign(chosen, changes);
  if (addressOf() === `${location.pathname}${location.search}`) return;
  history[replace ? "replaceState" : "pushState"](null, "", addressOf());
}
window.addEventListener("popstate", () => Object.assign(chosen, fromAddress()));

const link = (changes) => ({
  href: addressOf(changes),
  onClick: (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    choose(changes);
  },
});

// Loading

const graphAddress = () =>
  `${HERE}/graph.json${query({ focus: chosen.focus, hops: chosen.focus && (chosen.hops || 2), collapse: chosen.unfold && "0", open: chosen.open, apart: apart.value })}`;
const listAddress = () =>
  `${HERE}.json${query({ status: chosen.status, q: chosen.q, finished: chosen.finished, limit: chosen.n || PAGE })}`;

// Of answers, that to the newest question counts, if that is what the address still asks.
const LOADERS = {
  graph: async (isNewest) => {
    const address = graphAddress();
    const told = await getJson(address);
    if (isNewest() && address === graphAddress()) graph.value = { ...told, key: chosen.unfold + chosen.open };
    return null;
  },
  list: async (isNewest) => {
    const address = listAddress();
    const told = await getJson(address);
    if (isNewest() && address === listAddress()) list.value = told;
    return told;
  },
  timeline: async (isNewest) => {
    const told = await getJson(`${HERE}/timeline.json`);
    if (isNewest()) timeline.value = told;
    return null;
  },
};

const [beginLoad, beginJob] = [turns(), turns()];

async function loadJob() {
  const wanted = chosen.job;
  const isNewest = beginJob();
  const isWanted = () => isNewest() && wanted === chosen.job;
  if (!wanted || wanted.startsWith("group:")) {
    job.value = null;
    return;
  }
  try {
    const told = await getJson(`${HERE}/job.json${query({ job: wanted })}`);
    if (isWanted()) job.value = { ...told, wanted };
  } catch (error) {
    if (!isWanted()) return;
    if (error.status !== 404) throw error;
    job.value = null;
  }
}

let isFirst = true;

async function load() {
  const isNewest = beginLoad();
  try {
    const [told] = await Promise.all([LOADERS[view.value](isNewest), loadJob()]);
    const whole = told || (await getJson(`${HERE}.json?limit=0`));
    if (!isNewest()) return;
    queue.value = whole;
    trouble.value = "";
    if (isFirst) backToPlace();
    isFirst = false;
  } catch (error) {
    if (!isNewest()) return;
    trouble.value = error.status === 404 ? "This queue is not there any more." : error.message;
  }
}

const loadSoon = calmly(load, 300);
const loadLater = calmly(load, 1500);
const onChanged = () => ((queue.value?.total || 0) > LARGE ? loadLater() : loadSoon());

watch(() => [view.value, chosen.focus, chosen.hops, chosen.unfold, chosen.open, chosen.status, chosen.q, chosen.finished, chosen.n].join("\n"), () => load());
watch(() => chosen.job, () => loadJob().catch((error) => (trouble.value = error.message)));
// The chosen job is to be seen: out of its group, and in the middle of what is drawn if it is elsewhere.
watch(() => [job.value?.job.uid, graph.value], async ([uid, drawn], [before]) => {
  if (view.value !== "graph" || !uid || !drawn) return;
  if (!drawn.nodes.some((node) => node.uid === uid)) {
    if (drawn.focus && drawn.focus !== uid) choose({ focus: uid }, { replace: true });
    else if (apart.value !== uid) {
      apart.value = uid;
      await load();
    }
  } else if (uid !== before) {
    await nextTick();
    drawing.value?.reveal?.(uid);
  }
});

// Selecting

const select = (uid) => choose({ job: uid || "" }, { replace: Boolean(uid && chosen.job) });
const selected = computed(() => (job.value?.wanted === chosen.job && job.value.job.uid) || chosen.job);
const openJob = (one) => location.assign(`/tasks/${one.number}`);

/** Enter on a box of the graph: a group is unfolded, a job opened. */
function openNode(node) {
  if (!node.count) return openJob(node);
  choose({ open: [...chosen.open.split(",").filter(Boolean), node.uid].join(","), job: "" });
  return undefined;
}
const chosenGroup = computed(() => graph.value?.nodes.find((node) => node.count && node.uid === chosen.job));

// Doing

const called = (one) => one.name || `task ${one.number}`;

async function act(action, body, done) {
  const told = await attempt(() => post(`/api/queues/${encodeURIComponent(NAME)}/${action}`, body));
  if (!told) return;
  if (told.queue) queue.value = { ...queue.value, ...told.queue };
  for (const one of (told.failed || []).slice(0, 3)) toast(one.why, "bad");
  if (done) toast(typeof done === "function" ? done(told) : done);
  loadSoon();
}

async function pauseOrResume() {
  if (!queue.value) return;
  const { paused, counts } = queue.value;
  const sure = await confirm({
    title: paused ? `Resume ${NAME}?` : `Pause ${NAME}?`,
    text: paused
      ? `${some(counts.queued || 0, "job")} may begin as slots become free.`
      : `No more jobs begin. ${counts.running ? `${some(counts.running, "job")} that run go on.` : "None runs now."}`,
    facts: whereabouts(queue.value.belongs),
    action: paused ? "Resume" : "Pause",
  });
  if (sure) await act(paused ? "resume" : "pause", {}, paused ? "Resumed." : "Paused.");
}

const FAILED = ["failed", "cancelled", "skipped", "lost"];
const failedCount = computed(() => FAILED.reduce((sum, name) => sum + (queue.value?.counts[name] || 0), 0));

async function retryAll() {
  const { counts } = queue.value;
  const sure = await confirm({
    title: `Retry ${some(failedCount.value, "job")}?`,
    text: "All that did not complete wait again, each with its next attempt.",
    facts: [...FAILED.filter((name) => counts[name]).map((name) => [name, count(counts[name])]), ...whereabouts(queue.value.belongs)],
    action: `Retry ${count(failedCount.value)}`,
  });
  if (sure) await act("retry", {}, (told) => `${some(told.done.length, "job")} ${told.done.length === 1 ? "waits" : "wait"} again.`);
}

async function cancelAll() {
  const { counts, left } = queue.value;
  const sure = await confirm({
    title: `Cancel ${some(left, "job")}?`,
    text: "All that wait leave the queue, and all that run are asked to end.",
    facts: [...["running", "submitted", "queued"].filter((name) => counts[name]).map((name) => [name, count(counts[name])]), ...whereabouts(queue.value.belongs)],
    action: `Cancel ${count(left)}`,
    danger: true,
  });
  if (sure) await act("cancel", {}, (told) => `Cancelled ${some(told.done.length, "job")}.`);
}

async function setWorkers() {
  const now = queue.value?.set?.workers || 1;
  const given = await confirm({
    title: `Slots of ${NAME}`,
    text: "How many jobs a worker runs at a time. It holds at once, also while the queue runs; what a worker was started with wins.",
    facts: whereabouts(queue.value?.belongs || []),
    fields: [{ name: "workers", label: "Slots", kind: "int", min: 1, default: now, required: true }],
    action: "Set",
  });
  if (given && given.workers !== now) await act("set", { workers: given.workers }, `Set to ${some(given.workers, "slot")}.`);
}

async function cancelJob(one) {
  const sure = await confirm({ title: `Cancel ${called(one)}?`, code: one.command, facts: whereabouts([one]), action: "Cancel the job", danger: true });
  if (sure) await act("cancel", { jobs: [one.uid] }, "Cancelled.");
}

async function retryJob(one) {
  const sure = await confirm({
    title: `Retry ${called(one)}?`,
    text: "It waits for a worker again, with what was skipped because of it.",
    code: one.command,
    facts: whereabouts([one]),
    action: "Retry",
  });
  if (sure) await act("retry", { jobs: [one.uid] }, (told) => `${some(told.done.length, "job")} ${told.done.length === 1 ? "waits" : "wait"} again.`);
}

const actionOf = (one) =>
  isFinal(one.status)
    ? html`<button class="plain" title="Retry" aria-label=${`Retry ${called(one)}`} onClick=${() => retryJob(one)}><${Icon} name="rerun" /></button>`
    : html`<button class="plain" title="Cancel" aria-label=${`Cancel ${called(one)}`} onClick=${() => cancelJob(one)}><${Icon} name="stop" /></button>`;

// The head

const Head = () => {
  const { counts = {}, slots, workers = [], left, seconds_left: rest, blocked, set = {} } = queue.value;
  const [shape, told] = stateOf(queue.value);
  const waiting = counts.queued || 0;
  const facts = [
    workers.length ? `${count(Math.min(counts.running || 0, slots))} of ${some(slots, "slot")} in use` : `${some(set.workers || 1, "slot")}`,
    waiting && `${count(waiting)} waiting${blocked ? ` (${count(blocked)} blocked)` : ""}`,
    rest && `about ${duration(rest)} left`,
    workers.length && `${some(workers.length, "worker")} on ${[...new Set(workers.map((one) => one.host))].join(", ")}`,
  ].filter(Boolean);
  return html`
    <div class="head queue-head">
      <div class="title">
        <h1>${NAME} <${Status} of=${shape} word=${told} /></h1>
        ${
          !readOnly &&
          html`<div class="buttons">
            <button onClick=${pauseOrResume}>${queue.value.paused ? "Resume" : "Pause"}</button>
            <button onClick=${setWorkers}>Slots…</button>
            <button disabled=${!failedCount.value} onClick=${retryAll}>Retry${failedCount.value ? ` ${count(failedCount.value)}` : ""}</button>
            <button disabled=${!left} class=${left ? "danger" : ""} onClick=${cancelAll}>Cancel${left ? ` ${count(left)}` : ""}</button>
          </div>`
        }
      </div>
      <${Progress} queue=${queue.value} />
      <p class="about">
        ${facts.map((fact) => html`<span key=${fact}>${fact}</span>`)}
        <a href=${`/tasks${query({ queue: NAME })}`}>as tasks</a>
      </p>
      <${Counts} queue=${queue.value} current=${view.value === "list" ? chosen.status : null} link=${(status) => link({ view: "list", status, n: "" })} />
      ${
        waiting > 0 &&
        !workers.length &&
        !counts.submitted &&
        html`<p class="notice nobody">
          No worker runs, so nothing begins.
          <span class="teach"><code>$ qrec queue run ${word}</code><${Copy} text=${`qrec queue run ${word}`} title="Copy the command" /></span>
        </p>`
      }
    </div>
  `;
};

// The chosen job

const Linked = (props) => html`
  <ul class="linked">
    ${props.jobs.map(
      (one) => html`
        <li key=${one.uid}>
          ${
            one.gone
              ? html`<span class="muted">${one.uid} is gone</span>`
              : html`<button class="link" disabled=${!one.inside} onClick=${() => select(one.uid)}>
                  <${Glyph} of=${one.status} /><span class="hidden">${one.status}</span> ${called(one)}
                </button>`
          }
          ${one.kind !== "ok" && html`<small>${one.kind === "any" ? "however it ends" : "if it fails"}</small>`}
          ${!one.inside && !one.gone && html`<a href=${`/tasks/${one.number}`}>open</a>`}
        </li>
      `,
    )}
  </ul>
`;
Linked.props = ["jobs"];

/** A sentence of ours, commands in it as such. */
const sentenceOf = (text) => `${capital(text)}.`.split("`").map((part, at) => (at % 2 ? html`<code>${part}</code>` : part));

const Chosen = () => {
  if (chosenGroup.value)
    return html`
      <aside class="chosen-job" aria-label="Chosen group">
        <h2>${chosenGroup.value.label}</h2>
        <p class="muted">Drawn as one, since they stand alike in the graph.</p>
        <div class="buttons">
          <button onClick=${() => openNode(chosenGroup.value)}>Unfold</button>
          <a class="button" ...${link({ view: "list", status: chosenGroup.value.status === "blocked" ? "queued" : chosenGroup.value.status, n: "" })}>In the list</a>
        </div>
      </aside>
    `;
  const told = job.value;
  if (!told) return null;
  const one = told.job;
  const isFocused = chosen.focus && graph.value?.focus === one.uid;
  const hops = Number(chosen.hops || 2);
  return html`
    <aside class="chosen-job" aria-label="Chosen job">
      <header>
        <h2 role="status">${one.name || `Task ${one.number}`} <${Status} of=${one.state} code=${one.returncode || null} /></h2>
        <button class="plain" aria-label="Choose none" onClick=${() => select(null)}>✕</button>
      </header>
      <p class="line"><code class="command">${one.command}</code><${Copy} text=${one.command} title="Copy the command" /></p>
      ${one.message && html`<p class="note">${one.message}</p>`}
      <ul class="reasons">
        ${told.why.map((sentence) => html`<li key=${sentence}>${sentenceOf(sentence)}</li>`)}
      </ul>
      <p class="about">
        ${one.started && html`<span>began <${Time} at=${one.started} /></span>`}
        ${one.started && html`<span><${Took} task=${one} /></span>`}
        ${one.attempt > 1 && html`<span>attempt ${one.attempt}</span>`}
        ${one.priority !== 0 && html`<span>priority ${one.priority}</span>`}
        ${one.slot !== null && one.started && html`<span>slot ${one.slot}</span>`}
      </p>
      <div class="buttons">
        <a class="button" href=${`/tasks/${one.number}`}>Open</a>
        ${!readOnly && (isFinal(one.status) ? html`<button onClick=${() => retryJob(one)}>Retry</button>` : html`<button onClick=${() => cancelJob(one)}>Cancel</button>`)}
        ${
          view.value === "graph" &&
          (isFocused
            ? html`<button onClick=${() => choose({ focus: "", hops: "" })}>Show all</button>`
            : html`<button onClick=${() => choose({ focus: one.uid, hops: "" })}>Focus</button>`)
        }
        ${view.value !== "graph" && html`<a class="button" ...${link({ view: "graph" })}>In the graph</a>`}
      </div>
      ${
        isFocused &&
        view.value === "graph" &&
        html`<label class="hops">
          Steps around it
          <input type="number" min="1" max="20" value=${hops} onChange=${(event) => choose({ hops: event.target.value }, { replace: true })} />
        </label>`
      }
      ${told.parents.length > 0 && html`<h3>After</h3>`}
      ${told.parents.length > 0 && html`<${Linked} jobs=${told.parents} />`}
      ${told.followers > 0 && html`<h3>Followed by</h3>`}
      ${told.followers > 0 && html`<${Linked} jobs=${told.children} />`}
      ${told.followers > told.children.length && html`<p class="muted">and ${count(told.followers - told.children.length)} more</p>`}
    </aside>
  `;
};

// The views

const GraphView = () => {
  const told = graph.value;
  if (!told) return null;
  const notes = [
    told.focus && `${some(told.shown, "job")} within ${some(told.hops, "step")} of the one in focus, of ${count(told.total)}`,
    told.folded > 0 && `${some(told.folded, "job")} folded into groups`,
    told.left_out > 0 && `${some(told.left_out, "link")} not drawn that ${told.left_out === 1 ? "follows" : "follow"} from others`,
  ].filter(Boolean);
  return html`
    <div class="graph-view">
      <div class="toolbar">
        <button aria-label="Zoom in" title="Zoom in (+)" onClick=${() => drawing.value.zoom(1.4)}>+</button>
        <button aria-label="Zoom out" title="Zoom out (-)" onClick=${() => drawing.value.zoom(1 / 1.4)}>−</button>
        <button title="Show all of it (0)" onClick=${() => drawing.value.showAll()}>Fit</button>
        ${told.focus && html`<button onClick=${() => choose({ focus: "", hops: "" })}>Show all jobs</button>`}
        ${
          (told.folded > 0 || chosen.unfold || chosen.open) &&
          html`<button aria-pressed=${chosen.unfold ? "true" : "false"} onClick=${() => choose({ unfold: chosen.unfold ? "" : "1", open: "", job: "" })}>Unfold</button>`
        }
        ${chosen.open && html`<button onClick=${() => choose({ open: "" })}>Fold again</button>`}
        <span class="muted">${notes.join(" · ")}</span>
      </div>
      <${Graph} ref=${drawing} graph=${told} name=${NAME} selected=${selected.value} onSelect=${select} onOpen=${openNode} />
    </div>
  `;
};

const TimelineView = () => {
  const told = timeline.value;
  if (!told) return null;
  if (!told.begun)
    return html`<${Empty} title="No job has begun" command=${`qrec queue run ${word}`}><p>A worker takes the jobs that are ready, and they appear here as they run.</p><//>`;
  const rest = told.total - told.begun;
  return html`
    <div class="timeline-view">
      <div class="toolbar">
        <button aria-label="Zoom in" title="Zoom in (+)" onClick=${() => drawing.value.zoom(1.6)}>+</button>
        <button aria-label="Zoom out" title="Zoom out (-)" onClick=${() => drawing.value.zoom(1 / 1.6)}>−</button>
        <button title="Show all of it (0)" onClick=${() => drawing.value.showAll()}>Fit</button>
        <span class="muted">
          ${told.critical.length > 1 && html`<b class="bold-bar">▬</b> longest chain: ${some(told.critical.length, "job")}, ${duration(told.critical_seconds)} · `}
          ${some(told.begun, "job")} begun${rest ? `, ${count(rest)} not yet` : ""}
        </span>
      </div>
      <${Gantt} ref=${drawing} timeline=${told} name=${NAME} selected=${selected.value} onSelect=${select} onOpen=${openJob} />
    </div>
  `;
};

const Row = (props) => {
  const { one } = props;
  return html`
    <tr data-uid=${one.uid} class=${one.uid === selected.value ? "chosen" : ""}>
      <td class="number id">${one.number}</td>
      <td class="state"><${Status} of=${one.state} code=${one.returncode || null} /></td>
      <td class="job">
        <a href=${`/tasks/${one.number}`} title=${one.command}>${oneLine(one.name || one.command)}</a>
        ${one.why && html`<p class="phone-only">${one.why}</p>`}
      </td>
      <td class="why" title=${one.why}>${one.why}</td>
      <td class="number duration"><${Took} task=${one} /></td>
      <td class="command" title=${one.command}>${one.name ? oneLine(one.command) : ""}</td>
      <td class="act">
        <button class="plain" title="What it waits for" aria-label=${`About ${called(one)}`} aria-pressed=${one.uid === selected.value ? "true" : "false"} onClick=${() => select(one.uid === selected.value ? null : one.uid)}>
          <${Icon} name="more" />
        </button>
        ${!readOnly && actionOf(one)}
      </td>
    </tr>
  `;
};
Row.props = ["one"];

const words = draft(() => chosen.q);
let typing = 0;
const typed = (event) => {
  clearTimeout(typing);
  words.value = event.target.value;
  typing = setTimeout(() => choose({ q: words.value.trim(), n: "" }, { replace: true }), 200);
};

const isFiltered = computed(() => Boolean(chosen.status || chosen.q || chosen.finished));
const clearFilters = () => choose({ status: "", q: "", finished: "", n: "" });

const ListView = () => {
  const told = list.value;
  if (!told) return null;
  const { jobs, found, total } = told;
  return html`
    <div class="list-view">
      <div class="toolbar">
        <input class="filter" type="search" aria-label="Filter jobs" placeholder="Filter by name, command, tag" value=${words.value} autocomplete="off" spellcheck="false" onInput=${typed} />
        <label><input type="checkbox" checked=${chosen.finished === "0"} onChange=${(event) => choose({ finished: event.target.checked ? "0" : "", n: "" })} /> Hide finished</label>
        ${isFiltered.value && html`<button class="link" onClick=${clearFilters}>Clear filters</button>`}
        <span class="muted" role="status">${found === total ? some(total, "job") : `${count(found)} of ${some(total, "job")}`}</span>
      </div>
      ${
        jobs.length
          ? html`<table class="jobs">
              <caption class="hidden">Jobs of ${NAME}</caption>
              <thead>
                <tr>
                  <th scope="col" class="number id"><span aria-hidden="true">#</span><span class="hidden">Number</span></th>
                  <th scope="col" class="state">Status</th>
                  <th scope="col" class="job">Job</th>
                  <th scope="col" class="why">Why</th>
                  <th scope="col" class="number duration">Took</th>
                  <th scope="col" class="command">Command</th>
                  <th scope="col" class="act"><span class="hidden">Actions</span></th>
                </tr>
              </thead>
              <tbody>
                ${jobs.map((one) => html`<${Row} key=${one.uid} one=${one} />`)}
              </tbody>
            </table>`
          : html`<${Empty} title="Nothing matches"><p><button onClick=${clearFilters}>Clear filters</button></p><//>`
      }
      ${
        told.next &&
        html`<p class="pages">
          <span class="muted">${count(jobs.length)} of ${count(found)} shown</span>
          <button onClick=${() => choose({ n: String(jobs.length + PAGE) }, { replace: true })}>Show ${count(Math.min(PAGE, found - jobs.length))} more</button>
        </p>`
      }
    </div>
  `;
};

const SHOWN = { graph: GraphView, list: ListView, timeline: TimelineView };

// Keyboard

const jobNow = () => {
  const uid = rowNow()?.dataset.uid;
  return (uid && list.value?.jobs.find((one) => one.uid === uid)) || job.value?.job;
};
const onJob = (call) => () => {
  const one = jobNow();
  if (one) call(one);
};
const onDrawing = (call) => () => (drawing.value ? call(drawing.value) : false);

const SHORTCUTS = [
  ["v g", "the graph", () => choose({ view: "" })],
  ["v l", "the list", () => choose({ view: "list" })],
  ["v t", "the timeline", () => choose({ view: "timeline" })],
  ["j", "next job of the list", () => (view.value === "list" ? move(1) : false)],
  ["k", "job before in the list", () => (view.value === "list" ? move(-1) : false)],
  ["i", "about the job", () => rowNow() && select(rowNow().dataset.uid)],
  ["+", "zoom in", onDrawing((own) => own.zoom(1.4))],
  ["-", "zoom out", onDrawing((own) => own.zoom(1 / 1.4))],
  ["0", "show all of it", onDrawing((own) => own.showAll())],
  ["o", "open the job", onJob(openJob)],
  ["f", "focus on the job", onJob((one) => choose({ view: "", focus: chosen.focus ? "" : one.uid, hops: "" }))],
  ["h", "hide finished jobs", () => choose({ view: "list", finished: chosen.finished ? "" : "0" })],
  ["y", "copy the command", onJob((one) => copy(one.command, "Command copied"))],
  ["Escape", "choose no job", () => (chosen.job ? select(null) : false)],
];
const CHANGES = [
  ["p", "pause or resume (asks)", pauseOrResume],
  ["r", "retry the job (asks)", onJob((one) => isFinal(one.status) && retryJob(one))],
  ["c", "cancel the job (asks)", onJob((one) => !isFinal(one.status) && cancelJob(one))],
];

// The page

const Tabs = () => html`
  <div class="tabs" role="tablist" aria-label="Views" onKeydown=${onTabKey}>
    ${VIEWS.map(
      ([name, label]) => html`
        <button
          key=${name}
          id=${`tab-${name}`}
          role="tab"
          aria-selected=${view.value === name ? "true" : "false"}
          aria-controls="view"
          tabindex=${view.value === name ? 0 : -1}
          onClick=${() => choose({ view: name === "graph" ? "" : name })}
        >
          ${label}
        </button>
      `,
    )}
  </div>
`;
function onTabKey(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const at = (VIEWS.findIndex(([name]) => name === view.value) + step + VIEWS.length) % VIEWS.length;
  choose({ view: at ? VIEWS[at][0] : "" });
  nextTick(() => document.getElementById(`tab-${VIEWS[at][0]}`)?.focus());
}

const Queue = {
  setup() {
    keys(readOnly ? SHORTCUTS : [...SHORTCUTS, ...CHANGES]);
    following({ queue: NAME }, { changed: onChanged }, loadSoon);
    onMounted(load);
    const titled = computed(() => (queue.value?.left ? `(${count(queue.value.left)}) ` : ""));
    watch(titled, (left) => (document.title = `${left}${NAME} · qrec`), { immediate: true });
    return () => html`
      <${Header} />
      <main id="main" class="queue-page" tabindex="-1">
        <${Trouble} of=${trouble.value} />
        ${trouble.value && view.value === "list" && isFiltered.value && html`<p><button onClick=${clearFilters}>Clear filters</button></p>`}
        ${queue.value && html`<${Head} />`}
        ${
          queue.value &&
          (queue.value.total
            ? html`
                <${Tabs} />
                <div class=${`views${job.value || chosenGroup.value ? " with-job" : ""}`} id="view" role="tabpanel" aria-labelledby=${`tab-${view.value}`}>
                  <${SHOWN[view.value]} key=${view.value} />
                  <${Chosen} />
                </div>
              `
            : html`<${Empty} title="The queue is empty" command=${`qrec queue submit ${word} -- make`}>
                <p>A job waits until a worker takes it, and for others if it is told to: <code>--depends JOB</code>.</p>
              <//>`)
        }
      </main>
    `;
  },
};

mount(Queue);
