// One task: what it is, what it prints, why it failed, and what can be done with it.
//
// The address says what is shown: ?attempt=2, ?tab=compare&with=12, and #L120 for a line of the output.

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
  attempt as trying,
  calmly,
  capital,
  colour,
  computed,
  confirm,
  copy,
  count,
  duration,
  following,
  getJson,
  html,
  isDark,
  isFinal,
  keys,
  loading,
  mount,
  nextTick,
  oneLine,
  onMounted,
  onUnmounted,
  page,
  plotting,
  post,
  prose,
  query,
  reactive,
  readOnly,
  ref,
  remove,
  shallowRef,
  showDialog,
  size,
  toast,
  turns,
  watch,
  whereabouts,
} from "/static/lib.js";
import { LogView, drawn, pieces } from "/static/log.js";
import { elements } from "/static/panel.js";

const { uid } = page;
const MAIN = ["cancel", "retry", "requeue", "send"]; // actions with a button of their own, in this order
const SHOWN_HERE = ["output", "error", "screen"]; // actions whose answer this page shows anyway

const goneSince = ref(false);
const place = reactive(fromAddress());

function fromAddress() {
  const given = new URLSearchParams(location.search);
  return {
    tab: given.get("tab") || "output",
    attempt: Number(given.get("attempt")) || null,
    with: given.get("with") || "",
    with_attempt: Number(given.get("with_attempt")) || null,
  };
}

function go(changes) {
  Object.assign(place, changes);
  if (place.tab !== "compare") Object.assign(place, { with: "", with_attempt: null });
  const address = query({ ...place, tab: place.tab === "output" ? "" : place.tab });
  history.pushState(null, "", `${location.pathname}${address}`);
}

window.addEventListener("popstate", () => Object.assign(place, fromAddress()));

const task = computed(() => told.value?.task);
const newest = computed(() => told.value?.current ?? 1);
const current = computed(() => told.value?.attempts.at(-1)); // the newest attempt
const shownAttempt = computed(() => task.value?.attempt ?? 1); // what the address asks for comes with an answer
const isOld = computed(() => shownAttempt.value !== newest.value);
const running = computed(() => !isOld.value && Boolean(task.value) && !isFinal(task.value.status));
const name = computed(() => task.value?.number ?? uid);

// Loading

/** `told`: what the server says of the task. */
const { told, trouble, load, loadSoon } = loading(() => getJson(`/tasks/${uid}.json${query({ attempt: place.attempt })}`), 250, {
  gone: () => (goneSince.value = true),
});
watch(told, ({ task: one }) => (document.title = `${one.number} ${one.status} · qrec`));

// Acting

const address = (action) => `/api/tasks/${uid}/${action}`;

/** Do an action of the executor, asking for its options and before anything that changes something. */
async function act(action) {
  const asks = action.options.length || MAIN.includes(action.name);
  const options = asks
    ? await confirm({
        title: action.options.length ? `${capital(action.name)} (task ${name.value})` : `${capital(action.name)} task ${name.value}?`,
        text: action.help,
        code: oneLine(task.value.command),
        facts: whereabouts([task.value]),
        fields: action.options,
        action: capital(action.name),
        danger: action.name === "cancel",
      })
    : {};
  if (options === null) return undefined;
  const answer = await trying(() => post(address(action.name), options));
  if (answer === undefined) return undefined;
  loadSoon();
  const result = answer.result ?? answer.text;
  if (result === undefined || result === null)
    return toast(answer.pending ? `${capital(action.name)} goes on.` : `${capital(action.name)}: done.`);
  if (typeof result === "string" && !result.includes("\n") && result.length < 120) return toast(result || "Done.");
  return showDialog(capital(action.name), () => html`<${Value} of=${result} />`, { wide: true });
}

const isEmpty = (value) => typeof value === "object" && Object.keys(value ?? {}).length === 0;

async function rerun() {
  const { command, queue } = task.value;
  const { secrets } = told.value.can.rerun;
  const before = current.value.started ? `what attempt ${newest.value} printed is kept` : `attempt ${newest.value} never began`;
  const given = await confirm({
    title: `Rerun task ${name.value}?`,
    text: `It becomes attempt ${newest.value + 1}; ${before}.${queue ? ` ${outsideQueue()}` : ""}`,
    code: command,
    facts: whereabouts([task.value]),
    fields: Array.from({ length: secrets }, (_, at) => ({
      name: `secret ${at + 1}`,
      help: "It was left out of the record.",
      secret: true,
      required: true,
    })),
    body: () => html`<${Surroundings} />`,
    action: "Rerun",
  });
  if (!given) return;
  const answer = await trying(
    () => post(address("rerun"), secrets ? { secrets: Object.values(given) } : {}),
    `Attempt ${newest.value + 1} has been started.`,
  );
  if (answer) go({ attempt: null, tab: "output" });
  loadSoon();
}

/** What tells a rerun of a job apart from its retry. */
const outsideQueue = () =>
  `It runs at once and from here, whatever it waits for and whoever has its slot.${actionNamed("retry") ? " Retry lets the queue run it." : ""}`;

/** Whose environment a command has that is run from here, and what of it differs. */
const Surroundings = () => {
  const { environment } = told.value.can.rerun;
  const known = environment?.length ? "Of what is recorded of it this differs:" : "What is recorded of it is the same.";
  return html`
    <p>
      Its environment is the dashboard's: that of the shell in which <code>qrec start</code> was typed.${" "}
      ${environment ? known : current.value.started && "What it had before was not recorded."}
    </p>
    ${
      environment?.length > 0 &&
      html`<${Differences}
        rows=${environment.map((one) => [one.what, one.first, one.second])}
        heads=${["Variable", `Attempt ${newest.value}`, "Now"]}
        missing="not set"
      />`
    }
  `;
};

/** Rerun other words, where the server allows it; the difference is shown before anything runs. */
async function edit() {
  const words = task.value.argv;
  const given = await confirm({
    title: "Edit and run",
    text: "A new task, one argument a line. They are executed as they are: no shell reads them.",
    fields: [{ name: "argv", label: "Arguments", kind: "str", long: true, default: words.join("\n"), required: true }],
    action: "Look at the change",
  });
  if (!given) return;
  const argv = given.argv.split("\n");
  const sure = await confirm({
    title: "Run this?",
    facts: whereabouts([task.value]),
    body: () => html`<pre class="diff">${wordDiff(words, argv)}</pre><${Surroundings} />`,
    action: "Run",
  });
  const answer = sure && (await trying(() => post(address("edit"), { argv })));
  if (answer) location.assign(`/tasks/${answer.task.number}`);
}

function wordDiff(before, after) {
  const kept = new Set(after);
  const known = new Set(before);
  return [
    ...before.filter((word) => !kept.has(word)).map((word) => html`<span class="removed">- ${word}\n</span>`),
    ...after.map((word) =>
      known.has(word) ? html`<span>  ${word}\n</span>` : html`<span class="added">+ ${word}\n</span>`,
    ),
  ];
}

async function erase() {
  const sure = await confirm({
    title: `Delete task ${name.value}?`,
    text: "Its record, all its attempts and what they printed are removed for good.",
    code: oneLine(task.value.command),
    facts: whereabouts([task.value]),
    action: "Delete",
    danger: true,
  });
  if (sure && (await trying(() => remove(`/api/tasks/${uid}`)))) location.assign("/tasks");
}

async function compareWith() {
  const given = await confirm({
    title: "Compare with",
    fields: [{ name: "with", label: "Task", help: "A number, or the beginning of a uid", required: true }],
    action: "Compare",
  });
  if (given?.with) go({ tab: "compare", with: given.with.trim(), with_attempt: null });
}

const actionNamed = (wanted) => told.value?.actions?.find((one) => one.name === wanted && one.enabled);
const can = (wanted) => !readOnly && told.value?.can?.[wanted]?.enabled;
const shellLine = () => {
  const { pwd, command } = task.value;
  return pwd ? `cd ${quoted(pwd)} && ${command}` : command;
};
const quoted = (word) => (/^[\w@%+=:,./~-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

// The head

const Buttons = () => {
  const every = (told.value.actions || []).filter((one) => !SHOWN_HERE.includes(one.name));
  const first = MAIN.map((wanted) => every.find((one) => one.name === wanted)).filter((one) => one && one.enabled !== false);
  const rest = every.filter((one) => !first.includes(one));
  const button = (one) => html`
    <button
      key=${one.name}
      class=${one.name === "cancel" ? "danger" : ""}
      title=${one.enabled === false ? one.why_not : one.help}
      disabled=${one.enabled === false}
      onClick=${() => act(one)}
    >
      ${capital(one.name)}
    </button>
  `;
  return html`
    <div class="buttons">
      ${
        !readOnly &&
        isFinal(current.value.status) &&
        html`<button disabled=${!can("rerun")} title=${told.value.can.rerun.why_not || `${task.value.queue ? "Run it at once, outside the queue" : "Run it again"} (r)`} onClick=${rerun}>Rerun</button>`
      }
      ${!readOnly && page.allowEdit && html`<button onClick=${edit}>Edit and run</button>`}
      ${!readOnly && first.map(button)}
      <button onClick=${compareWith}>Compare</button>
      <${Menu} label="More actions">
        ${!readOnly && rest.map(button)}
        <button onClick=${() => copy(shellLine(), "Copied as a shell command")}>Copy as a shell command</button>
        <button onClick=${() => copy(task.value.uid, "Uid copied")}>Copy the uid</button>
        <a class="button" href=${`/tasks/${uid}.json`}>JSON</a>
        ${can("delete") && html`<button class="danger" onClick=${erase}>Delete</button>`}
      <//>
    </div>
  `;
};

const Menu = {
  props: ["label"],
  setup(props, { slots }) {
    const box = ref(null);
    const away = (event) => {
      if (box.value?.open && (event.key === "Escape" || (event.type === "click" && !box.value.contains(event.target)))) {
        box.value.open = false;
        if (event.key === "Escape") box.value.querySelector("summary").focus();
      }
    };
    onMounted(() => ["click", "keydown"].forEach((kind) => document.addEventListener(kind, away)));
    onUnmounted(() => ["click", "keydown"].forEach((kind) => document.removeEventListener(kind, away)));
    return () => html`
      <details ref=${box} class="menu">
        <summary class="button" aria-label=${props.label} title=${props.label}><${Icon} name="more" /></summary>
        <div onClick=${() => (box.value.open = false)}>${slots.default?.()}</div>
      </details>
    `;
  },
};

const Head = () => {
  const one = task.value;
  const { attempts } = told.value;
  const many = newest.value > 1;
  return html`
    <div class="head">
      <div class="title">
        <h1>
          <${Status} of=${one.status} word=${one.status} code=${endOf(one)} />
          <span class="muted">${" "}${one.number}</span>
        </h1>
        <${Buttons} />
      </div>
      <div class="line">
        <pre class="command" tabindex="0" aria-label="Command">${one.command}</pre>
        <${Copy} text=${one.command} title="Copy the command" done="Command copied" />
      </div>
      <p class="about">
        <span>${!one.started && "made "}<${Time} at=${one.started || one.created} /></span>
        ${one.started && html`<span>${isFinal(one.status) ? "took" : "for"}${" "}<${Took} task=${one} />${usual(one) && ` (usually ${usual(one)})`}</span>`}
        ${one.usage?.memory && html`<span>${size(one.usage.memory)} at its peak</span>`}
        <span>${one.user}${one.user && one.host ? "@" : ""}${one.host}</span>
        <span class="mono">${one.pwd}</span>
        <a href=${`/executor/${encodeURIComponent(one.executor)}`}>${one.executor}</a>
        ${one.queue && html`<a href=${`/queues/${encodeURIComponent(one.queue)}`}>queue ${one.queue}</a>`}
        ${told.value.queue?.job && html`<span>job ${told.value.queue.job}</span>`}
        ${
          many &&
          html`<label class="select">
            <span>attempt</span>
            <select
              value=${shownAttempt.value}
              onChange=${(event) => go({ attempt: Number(event.target.value) === newest.value ? null : Number(event.target.value) })}
            >
              ${numbersOf(attempts).map(
                (number) => html`<option value=${number} selected=${number === shownAttempt.value}>${number} of ${newest.value}</option>`,
              )}
            </select>
          </label>`
        }
      </p>
      <${Words} />
      ${isOld.value && html`<p class="notice">This is attempt ${shownAttempt.value} of ${newest.value}. <button class="link" onClick=${() => go({ attempt: null })}>Show the newest</button></p>`}
      <${Reason} />
    </div>
  `;
};

/** How long other good runs of the same command took, half of them less. */
function usual(one) {
  const isOther = (run) => run.number !== one.number || run.attempt !== one.attempt;
  const runs = (one.history || []).filter((run) => run.status === "complete" && isOther(run) && run.seconds !== null);
  const sorted = runs.map((run) => run.seconds).toSorted((a, b) => a - b);
  return runs.length < 2 ? "" : duration(sorted[Math.floor(sorted.length / 2)]);
}

const numbersOf = (attempts) =>
  [...new Set([...attempts.map((one) => one.attempt), newest.value])].toSorted((a, b) => b - a);
const endOf = (one) => (one.signal ? `signal ${one.signal}` : one.returncode ? `exit ${one.returncode}` : null);

/** The note and the tags, which can be changed here. */
const Words = {
  setup() {
    const draft = ref(null);
    const tag = ref(null);
    const field = ref(null);
    const begin = async (which, value) => {
      which.value = value;
      await nextTick();
      field.value?.focus();
    };
    const saveNote = async (event) => {
      event.preventDefault();
      const words = draft.value;
      if ((await trying(() => post(address("note"), { message: words.trim() }))) && draft.value === words) draft.value = null;
      loadSoon();
    };
    const saveTags = async (event) => {
      event.preventDefault();
      const words = tag.value;
      const add = words.split(",").map((word) => word.trim()).filter(Boolean);
      if ((!add.length || (await trying(() => post(address("tag"), { add })))) && tag.value === words) tag.value = null;
      loadSoon();
    };
    const untag = async (one) => {
      await trying(() => post(address("tag"), { remove: [one] }));
      loadSoon();
    };
    const leave = (which) => (event) => event.key === "Escape" && (which.value = null);
    return () => html`
      <div class="words">
        ${
          draft.value !== null
            ? html`<form onSubmit=${saveNote}>
                <input
                  ref=${field}
                  aria-label="Note"
                  value=${draft.value}
                  onInput=${(event) => (draft.value = event.target.value)}
                  onKeydown=${leave(draft)}
                />
                <button type="submit" class="primary">Save</button>
                <button type="button" onClick=${() => (draft.value = null)}>Cancel</button>
              </form>`
            : html`${task.value.message && html`<p class="note">${task.value.message}</p>`}
                ${
                  !readOnly &&
                  html`<button class="plain small" onClick=${() => begin(draft, task.value.message || "")}>
                    <${Icon} name="edit" />${task.value.message ? html`<span class="hidden">Edit the note</span>` : "Add a note"}
                  </button>`
                }`
        }
        ${(task.value.tags || []).map(
          (one) => html`
            <span class="tag" key=${one}>
              <a href=${`/tasks${query({ tag: one })}`}>${one}</a>
              ${!readOnly && html`<button class="untag" aria-label=${`Remove the tag ${one}`} onClick=${() => untag(one)}>✕</button>`}
            </span>
          `,
        )}
        ${
          tag.value !== null
            ? html`<form onSubmit=${saveTags}>
                <input
                  ref=${field}
                  aria-label="New tags"
                  placeholder="tag"
                  size="12"
                  value=${tag.value}
                  onInput=${(event) => (tag.value = event.target.value)}
                  onKeydown=${leave(tag)}
                />
                <button type="submit" class="primary">Add</button>
              </form>`
            : !readOnly && html`<button class="plain small" onClick=${() => begin(tag, "")}>+ tag</button>`
        }
      </div>
    `;
  },
};

/** Why it failed, in a sentence; the rest is in its tab. */
const Reason = () => {
  const { why } = told.value;
  if (!why?.explanation || !isFinal(task.value.status) || task.value.status === "complete") return null;
  return html`
    <p class=${`notice ${task.value.status === "failed" ? "bad" : ""}`}>
      <b>${task.value.status === "skipped" && why.reason ? why.reason : capital(why.reason || task.value.status)}</b>: ${prose(why.explanation)}${" "}
      ${place.tab !== "why" && html`<button class="link" onClick=${() => go({ tab: "why" })}>Why</button>`}
    </p>
  `;
};

/** What the executor has noted, without what hooks have. */
const notesOf = ({ data: { hooks, ...notes } }) => notes;

/** What hooks have done for the attempt that is shown, a line each. */
const hookLines = () =>
  (told.value.panel.data.hooks || [])
    .filter((one) => (one.attempt ?? shownAttempt.value) === shownAttempt.value)
    .map(({ name: hook, event, code, seconds, said }) => {
      const end = code === 0 ? "done" : code === null || code === undefined ? "did not end" : `exit ${code}`;
      return html`<div>${hook}${event && ` (${event})`}: ${end}${seconds !== undefined && seconds !== null && `, ${duration(seconds)}`}${said && html` <span class="muted">${said}</span>`}</div>`;
    });

// Tabs

const tabs = computed(() => {
  const { panel, queue } = told.value;
  const has = panel.own || panel.shows.length > 0 || !isEmpty(notesOf(panel));
  const word = queue ? "Queue" : { slurm: "Slurm", tmux: "tmux" }[task.value.executor] || capital(task.value.executor);
  return [
    ["output", "Output"],
    isFinal(task.value.status) && task.value.status !== "complete" && ["why", "Why"],
    (queue || (has && task.value.executor !== "shell")) && ["panel", word],
    ["details", "Details"],
    ["attempts", `Attempts${newest.value > 1 ? ` ${newest.value}` : ""}`],
    place.tab === "compare" && ["compare", "Compare"],
  ].filter(Boolean);
});

const Tabs = () => html`
  <div class="tabs" role="tablist" aria-label="Parts of this task" onKeydown=${turnTab}>
    ${tabs.value.map(
      ([key, word]) => html`
        <button
          key=${key}
          role="tab"
          id=${`tab-${key}`}
          aria-controls="panel"
          aria-selected=${place.tab === key ? "true" : "false"}
          tabindex=${place.tab === key ? 0 : -1}
          onClick=${() => go({ tab: key })}
        >
          ${word}
        </button>
      `,
    )}
  </div>
`;

async function turnTab(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const all = tabs.value.map(([key]) => key);
  go({ tab: all[(all.indexOf(place.tab) + step + all.length) % all.length] });
  await nextTick();
  document.getElementById(`tab-${place.tab}`)?.focus();
}

// Output, and the usage under it on the same clock

const pointed = ref(null); // ms since the start: where the pointer is, in the log or in a plot
const log = ref(null);

const Output = () => html`
  <div class="output">
    <${LogView}
      key=${shownAttempt.value}
      ref=${log}
      uid=${uid}
      attempt=${shownAttempt.value}
      running=${running.value}
      started=${task.value.started}
      onTime=${(time) => (pointed.value = time)}
    />
    <${Usage} key=${`usage-${shownAttempt.value}`} />
  </div>
`;

function cores(value) {
  const told = value >= 10 ? value.toFixed(0) : Number(value.toFixed(value >= 1 ? 1 : 2));
  return `${told} core${told === 1 ? "" : "s"}`;
}

const PLOTS = [
  ["cpu", "CPU", "--accent", cores],
  ["memory", "Memory", "--ok", size],
  ["disk", "Disk", "--wait", (value) => `${size(value)}/s`],
  ["gpu", "GPU", "--run", (value) => `${Math.round(value * 100)} %`],
];

const Usage = {
  setup() {
    const shown = ref(null);
    const series = shallowRef(null);
    const boxes = reactive({});
    let plots = [];
    let timer = 0;
    const wanted = computed(() => PLOTS.filter(([key]) => series.value?.[key]));

    async function fetchSeries() {
      const told = await getJson(`/tasks/${uid}/usage.json${query({ attempt: shownAttempt.value })}`).catch(() => null);
      if (!shown.value || !told || !told.columns.length || told.columns[0].length < 2) return;
      const by = Object.fromEntries(told.names.map((one, at) => [one, told.columns[at]]));
      const disk = by.read?.map((value, at) => (value ?? 0) + (by.written[at] ?? 0));
      if (disk?.some((value) => value > 1000)) by.disk = disk;
      const drawn = Boolean(plots.length);
      const same = drawn && wanted.value.length === PLOTS.filter(([key]) => by[key]).length;
      series.value = by;
      await nextTick();
      if (same) plots.forEach((plot, at) => plot.setData([by.seconds, by[wanted.value[at][0]]]));
      else await draw();
    }
    const fetchSoon = calmly(fetchSeries, 1000);

    function clear() {
      plots.forEach((plot) => plot.destroy());
      plots = [];
    }

    async function draw() {
      const uPlot = await trying(plotting);
      await nextTick();
      if (!uPlot || !shown.value) return; // the page was left meanwhile
      clear();
      const sync = uPlot.sync("usage");
      plots = wanted.value.map(([key, label, paint, format], at) => {
        const box = boxes[key];
        const last = at === wanted.value.length - 1;
        const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
        const plot = new uPlot(
          {
            width: box.clientWidth,
            height: last ? 108 : 88,
            padding: [24, 28, last ? 0 : 7, 0], // on the right, for half of the last time
            legend: { show: false },
            cursor: { sync: { key: sync.key, setSeries: false }, y: false, points: { size: 6 }, drag: { x: true, y: false } },
            scales: { x: { time: false, range: (_, low, high) => [0, high] }, y: { range: (_, low, high) => [0, (high || 1) * 1.08] } },
            axes: [
              { ...axis, show: last, size: 22, values: (_, all) => all.map((value) => clockOf(value)) },
              { ...axis, size: 64, space: 28, values: (_, all) => all.map((value) => format(value)) },
            ],
            series: [{}, { label, stroke: colour(paint), width: 1.5, fill: faded(colour(paint)), points: { show: false } }],
            hooks: {
              setCursor: [
                (self) => {
                  if (self.cursor.event) pointed.value = self.cursor.idx === null || self.cursor.idx === undefined ? null : self.posToVal(self.cursor.left, "x") * 1000;
                },
              ],
            },
          },
          [series.value.seconds, series.value[key]],
          box,
        );
        plot.over.addEventListener("click", () => log.value?.goToTime?.(plot.posToVal(plot.cursor.left, "x") * 1000));
        return plot;
      });
    }

    // A line of the log that is pointed at, shown in the plots.
    watch(pointed, (time) => {
      for (const plot of plots) {
        if (plot.over.matches(":hover")) continue;
        const left = time === null || time === undefined ? -10 : plot.valToPos(time / 1000, "x");
        plot.setCursor({ left, top: 0 }, false);
      }
    });
    watch(isDark, () => nextTick(draw));
    watch(running, (is, was) => was && !is && fetchSoon());
    const resize = new ResizeObserver(() => {
      for (const plot of plots) plot.setSize({ width: plot.root.parentElement.clientWidth, height: plot.height });
    });
    onMounted(() => {
      fetchSoon();
      resize.observe(shown.value);
      timer = setInterval(() => running.value && fetchSoon(), 2000);
    });
    onUnmounted(() => {
      clearInterval(timer);
      resize.disconnect();
      clear();
      pointed.value = null;
    });
    const valueAt = (key) => {
      const { seconds } = series.value;
      let at = pointed.value === null || pointed.value === undefined ? seconds.length - 1 : seconds.findIndex((one) => one >= pointed.value / 1000);
      if (at < 0) at = seconds.length - 1;
      return series.value[key][at] ?? 0;
    };
    return () => html`
      <section class="usage" ref=${shown} aria-label="Usage over time">
        ${wanted.value.map(
          ([key, label, paint, format]) => html`
            <figure key=${key}>
              <figcaption><b>${label}</b> ${format(valueAt(key))}</figcaption>
              <div ref=${(box) => (boxes[key] = box)} role="img" aria-label=${`${label} over time, ${format(Math.max(0, ...series.value[key]))} at most`}></div>
            </figure>
          `,
        )}
      </section>
    `;
  },
};

const faded = (paint) => paint.replace("rgb(", "rgba(").replace(")", ", 0.12)");
const clockOf = (seconds) => (seconds < 60 ? `${Number(seconds.toFixed(2))} s` : duration(seconds)); // no ms on an axis

// Why

const Why = {
  setup() {
    const why = shallowRef(null);
    const sentence = ref("");
    const begin = turns();
    const fetchWhy = async () => {
      const isNewest = begin();
      let answer = null;
      try {
        answer = await getJson(`/tasks/${uid}/why.json${query({ attempt: shownAttempt.value })}`);
      } catch (error) {
        if (isNewest()) sentence.value = error.message;
      }
      if (isNewest()) why.value = answer;
    };
    onMounted(fetchWhy);
    watch(() => [task.value?.status, shownAttempt.value].join(), fetchWhy);
    return () => {
      if (!why.value) return html`<p class="muted">${sentence.value || "Looking…"}</p>`;
      const { reason, explanation, last, good, differs } = why.value;
      const { traceback } = last && why.value.traceback && textIn(last).includes(textIn(why.value.traceback)) ? {} : why.value;
      return html`
        <div class="sections">
          <section>
            <h2>${reason ? capital(reason) : "It did not fail"}</h2>
            ${explanation && html`<p>${prose(capital(explanation))}.</p>`}
          </section>
          ${
            traceback &&
            html`<section>
              <h2>Traceback <small>${traceback.stream}${traceback.line > 0 ? `, line ${count(traceback.line)}` : ""}</small></h2>
              <pre class="text" tabindex="0">${textIn(traceback)}</pre>
            </section>`
          }
          ${
            last &&
            html`<section>
              <h2>The end of ${last.stream}</h2>
              <pre class="text" tabindex="0">${textIn(last)}</pre>
            </section>`
          }
          <section>
            ${
              good
                ? html`
                    <h2>
                      What differs from the last good run,${" "}
                      <a href=${`/tasks/${good.number}?attempt=${good.attempt}`}>${good.uid === uid ? `attempt ${good.attempt}` : `task ${good.number}`}</a>
                    </h2>
                    ${
                      differs.length
                        ? html`<${Differences} rows=${differs.map((one) => [one.what, one.first, one.second])} heads=${["", "Good run", "This run"]} />`
                        : html`<p class="muted">Nothing recorded differs.</p>`
                    }
                  `
                : html`<p class="muted">No run of the same command went well, so there is none to compare with.</p>`
            }
          </section>
        </div>
      `;
    };
  },
};

const textIn = (excerpt) => (excerpt.lines || []).join("\n");

const Differences = (props) => html`
  <div class="scroll">
    <table class="differences">
      <thead>
        <tr>
          ${props.heads.map((head) => html`<th scope="col">${head || html`<span class="hidden">What</span>`}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${props.rows.map(
          ([what, first, second]) => html`
            <tr key=${what}>
              <th scope="row">${what}</th>
              <td>${textOf(what, first, props.missing)}</td>
              <td>${textOf(what, second, props.missing)}</td>
            </tr>
          `,
        )}
      </tbody>
    </table>
  </div>
`;
Differences.props = ["rows", "heads", "missing"];

function textOf(what, value, missing = "none") {
  if (value === null || value === undefined) return html`<span class="muted">${missing}</span>`;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map(what === "arguments" ? quoted : String).join(" ") || html`<span class="muted">none</span>`;
  if (typeof value === "object") return JSON.stringify(value);
  if (what === "duration" || what === "cpu") return duration(value);
  if (typeof value === "number" && /memory|^read|written/.test(what)) return size(value);
  return String(value);
}

// Compare

const Compare = {
  setup() {
    const found = shallowRef(null);
    const sentence = ref("Comparing…");
    const begin = turns();
    const fetchDiff = async () => {
      if (place.tab !== "compare") return;
      const isNewest = begin();
      found.value = null;
      sentence.value = "Comparing…";
      const wanted = { attempt: place.with_attempt, with: uid, with_attempt: shownAttempt.value };
      try {
        const answer = await getJson(`/tasks/${encodeURIComponent(place.with || uid)}/diff.json${query(wanted)}`);
        if (isNewest()) found.value = answer;
      } catch (error) {
        if (isNewest()) sentence.value = error.message;
      }
    };
    onMounted(fetchDiff);
    watch(() => [place.with, shownAttempt.value, place.with_attempt].join(), fetchDiff);
    return () => {
      if (!found.value) return html`<p class="muted">${sentence.value}</p>`;
      const { first, second, output, same } = found.value;
      const sections = ["command", "facts", "usage"].map((key) => [key, found.value[key]]);
      const nameOf = (side, other) => (side.uid === other.uid ? `Attempt ${side.attempt}` : `Task ${side.number}`);
      return html`
        <div class="sections">
          ${same && html`<p>Nothing differs.</p>`}
          ${sections
            .filter(([, rows]) => rows.length)
            .map(
              ([key, rows]) => html`
                <section key=${key}>
                  <h2>${capital(key)}</h2>
                  <${Differences}
                    rows=${rows.map((one) => [one.what, one.first, one.second])}
                    heads=${["", nameOf(first, second), nameOf(second, first)]}
                    missing=${key === "usage" ? "not measured" : "none"}
                  />
                </section>
              `,
            )}
          ${output.map(
            ({ stream, lines, more }) => html`
              <section key=${stream}>
                <h2>${stream}</h2>
                <pre class="diff" tabindex="0">${lines.map((line) => html`<span class=${kindOf(line)}>${line}\n</span>`)}</pre>
                ${more && html`<p class="muted">The rest is left out: <code>qrec diff ${first.number} ${second.number}</code> shows all of it.</p>`}
              </section>
            `,
          )}
        </div>
      `;
    };
  },
};

const kindOf = (line) =>
  line.startsWith("+++") || line.startsWith("---")
    ? "name"
    : ({ "+": "added", "-": "removed", "@": "place" }[line[0]] ?? "");

// Details, attempts

const Details = () => {
  const one = task.value;
  const facts = told.value.facts || one.facts || {};
  const copied = (text) => text && html`<span class="mono">${text}</span><${Copy} text=${text} />`;
  const time = (at) => html`<${Time} at=${at} full />`;
  return html`
    <div class="sections">
      <section>
        <h2>Record</h2>
        <${Facts}
          rows=${[
            ["Uid", copied(one.uid)],
            ["Arguments", html`<span class="mono">${(one.argv || []).map(quoted).join(" ")}</span>`],
            ["Folder", copied(one.pwd)],
            ["Host", one.host],
            ["User", one.user],
            ["Process", one.pid],
            ["Created", time(one.created)],
            ["Started", one.started && time(one.started)],
            ["Ended", one.ended && time(one.ended)],
            ["Exit code", one.returncode],
            ["Signal", one.signal],
            ["CPU time", one.usage?.cpu !== undefined && duration(one.usage.cpu)],
            ["Peak memory", size(one.usage?.memory)],
            ["Read", size(one.usage?.read)],
            ["Written", size(one.usage?.written)],
            ["Hooks", hookLines().length > 0 && hookLines()],
            ["Depends on", one.after?.length > 0 && one.after.map((other) => html`<a href=${`/tasks/${other}`}>${other}</a> `)],
          ]}
        />
      </section>
      ${Object.entries(facts)
        .filter(([, value]) => value !== null && typeof value === "object" && !isEmpty(value))
        .map(
          ([key, value]) => html`
            <section key=${key}>
              <h2>${capital(key)}</h2>
              <${Value} of=${value} />
            </section>
          `,
        )}
      ${
        Object.values(facts).some((value) => value !== null && typeof value !== "object") &&
        html`<section>
          <h2>Surroundings</h2>
          <${Facts} rows=${Object.entries(facts).filter(([, value]) => value !== null && typeof value !== "object").map(([key, value]) => [key, readable(key, value)])} />
        </section>`
      }
    </div>
  `;
};

const Facts = (props) => html`
  <dl class="facts">
    ${props.rows
      .filter(([, value]) => value !== null && value !== undefined && value !== false && value !== "")
      .map(([key, value]) => [html`<dt>${key}</dt>`, html`<dd>${typeof value === "boolean" ? "yes" : value}</dd>`])}
  </dl>
`;
Facts.props = ["rows"];

/** Whatever an executor tells, as people read it: names and values, a table, or text. */
const Value = (props) => {
  const value = props.of;
  if (value === null || value === undefined || value === "") return html`<span class="muted">–</span>`;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string")
    return value.includes("\n") ? html`<pre class="text" tabindex="0">${value}</pre>` : value;
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) {
    if (!value.length) return html`<span class="muted">–</span>`;
    if (value.every((one) => one && typeof one === "object" && !Array.isArray(one))) return tableOf(value);
    return value.map((one) => (one && typeof one === "object" ? html`<${Value} of=${one} />` : html`<div>${String(one)}</div>`));
  }
  const known = Object.entries(value).filter(([, one]) => one !== null && one !== "");
  return html`<${Facts} rows=${known.map(([key, one]) => [wordsOf(key), html`<${Value} of=${readable(key, one)} />`])} />`;
};
Value.props = ["of"];

/** A name as words; a variable is called as it is. */
const wordsOf = (key) => (/[a-z]/.test(key) ? key.replaceAll("_", " ") : key);

const TOLD = { seconds: duration, memory: size };
const readable = (key, value) => (typeof value === "number" && TOLD[key] ? TOLD[key](value) : value);

function tableOf(rows) {
  const heads = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return html`
    <div class="scroll">
      <table>
        <thead><tr>${heads.map((head) => html`<th scope="col">${head.replaceAll("_", " ")}</th>`)}</tr></thead>
        <tbody>
          ${rows.map((row) => html`<tr>${heads.map((head) => html`<td><${Value} of=${row[head]} /></td>`)}</tr>`)}
        </tbody>
      </table>
    </div>
  `;
}

const Attempts = () => {
  const all = (told.value.attempts || []).toSorted((a, b) => b.attempt - a.attempt);
  return html`
    <div class="scroll">
      <table class="attempts">
        <thead>
          <tr>
            <th scope="col">Attempt</th>
            <th scope="col">Status</th>
            <th scope="col">Started</th>
            <th scope="col" class="number">Took</th>
            <th scope="col" class="number">Memory</th>
            <th scope="col" class="number">Exit</th>
            <th scope="col"><span class="hidden">Actions</span></th>
          </tr>
        </thead>
        <tbody>
          ${all.map(
            (one) => html`
              <tr key=${one.attempt} class=${one.attempt === shownAttempt.value ? "chosen" : ""}>
                <td><button class="link" onClick=${() => go({ tab: "output", attempt: one.attempt === newest.value ? null : one.attempt })}>${one.attempt}</button></td>
                <td><${Status} of=${one.status} /></td>
                <td><${Time} at=${one.started} /></td>
                <td class="number"><${Took} task=${one} /></td>
                <td class="number">${size(one.usage?.memory) || "–"}</td>
                <td class="number">${one.returncode ?? "–"}</td>
                <td>
                  ${
                    one.attempt !== shownAttempt.value &&
                    html`<button class="link" onClick=${() => go({ tab: "compare", with: uid, with_attempt: one.attempt })}>
                      Compare with ${shownAttempt.value}
                    </button>`
                  }
                </td>
              </tr>
            `,
          )}
        </tbody>
      </table>
      ${all.length < 2 && html`<p class="muted pad">It ran once. A rerun keeps this attempt and starts the next.</p>`}
    </div>
  `;
};

// The executor's own panel

const Panel = {
  setup() {
    const parts = shallowRef({});
    const own = shallowRef(null);
    const fetchParts = calmly(async () => {
      const answer = await getJson(`/tasks/${uid}/panel.json`);
      [parts.value, own.value] = [answer.parts, answer.own];
    }, 1000);
    let timer = 0;
    onMounted(() => {
      fetchParts();
      timer = setInterval(() => running.value && told.value.panel.shows.includes("screen") && fetchParts(), 1000);
    });
    onUnmounted(() => clearInterval(timer));
    watch(() => told.value?.sequence, fetchParts);
    return () => {
      const { panel, queue } = told.value;
      const { screen, ...rest } = parts.value;
      return html`
        <div class="sections">
          ${own.value && html`<${Own} part=${own.value} />`}
          ${screen && html`<${Screen} part=${screen} />`}
          ${queue && html`<${QueuePart} of=${queue} />`}
          ${Object.entries(rest).map(
            ([key, part]) => html`
              <section key=${key}>
                <h2>${capital(key)}</h2>
                ${part.error ? html`<p class="muted">${prose(part.error)}</p>` : html`<${Value} of=${part.result ?? part.text ?? part} />`}
              </section>
            `,
          )}
          ${
            !isEmpty(notesOf(panel)) &&
            html`<details class="notes">
              <summary>The executor's notes</summary>
              <${Value} of=${notesOf(panel)} />
            </details>`
          }
        </div>
      `;
    };
  },
};

/** What the executor's own template makes of the task. */
const Own = {
  props: ["part"],
  setup(props) {
    const box = ref(null);
    const draw = () => box.value?.replaceChildren(...elements(props.part.html ?? ""));
    onMounted(draw);
    watch(() => props.part.html, draw, { flush: "post" });
    return () =>
      props.part.error
        ? html`<section><p class="muted">${prose(props.part.error)}</p></section>`
        : html`<section ref=${box} class="own"></section>`;
  },
};

const QueuePart = (props) => {
  const { name: queueName, job, after, blocks, why } = props.of;
  const jobs = (list) =>
    list.map((one) =>
      one.gone
        ? html`<div class="muted">${one.uid} (deleted)</div>`
        : html`<div class="job"><${Status} of=${one.status} /> <a href=${`/tasks/${one.number}`}>${one.name || one.number}</a> <span class="mono muted">${oneLine(one.command)}</span></div>`,
    );
  return html`
    <section>
      <h2>Queue</h2>
      <${Facts}
        rows=${[
          ["Queue", html`<a href=${`/queues/${encodeURIComponent(queueName)}`}>${queueName}</a>`],
          ["Job", job],
          ["Why it waits", why.length > 0 && why.map((line) => html`<div>${prose(line)}</div>`)],
          ["Depends on", after.length > 0 && jobs(after)],
          ["Blocks", blocks.length > 0 && jobs(blocks)],
        ]}
      />
    </section>
  `;
};
QueuePart.props = ["of"];

/** What is to be seen in a terminal, in its colours. */
const Screen = {
  props: ["part"],
  setup(props) {
    const box = ref(null);
    const draw = () => {
      const lines = (props.part?.text ?? "").split("\n");
      box.value?.replaceChildren(...lines.flatMap((line) => [...pieces(line).map(drawn), "\n"]));
    };
    onMounted(draw);
    watch(() => props.part?.text, draw, { flush: "post" });
    return () => html`
      <section>
        <h2>Screen ${running.value && html`<small>live</small>`}</h2>
        ${
          props.part?.error
            ? html`<p class="muted">${prose(props.part.error)}</p>`
            : html`<div class="log"><pre ref=${box} class="text screen" tabindex="0" aria-label="Screen"></pre></div>`
        }
      </section>
    `;
  },
};

// The page

/** What is done with the task as it was told; nothing before. */
const onTask = (call) => () => (task.value ? call(task.value) : false);

const PARTS = { output: Output, why: Why, panel: Panel, details: Details, attempts: Attempts, compare: Compare };

const TaskPage = {
  setup() {
    following({ task: uid }, { changed: onChanged }, loadSoon);
    onMounted(load);
    watch(() => place.attempt, load);
    keys([
      ["y", "copy the command", onTask((one) => copy(one.command, "Command copied"))],
      ["Y", "copy as a shell command", onTask(() => copy(shellLine(), "Copied as a shell command"))],
      ["i", "copy the uid", onTask((one) => copy(one.uid, "Uid copied"))],
      ["p", "copy the folder", onTask((one) => copy(one.pwd, "Folder copied"))],
      ["o", "output", () => go({ tab: "output" })],
      ["d", "details", () => go({ tab: "details" })],
      ["h", "attempts", () => go({ tab: "attempts" })],
      ["w", "why it failed", onTask(() => tabs.value.some(([key]) => key === "why") && go({ tab: "why" }))],
      ["=", "compare with another task", compareWith],
      ...(readOnly
        ? []
        : [
            ["r", "rerun (asks)", () => can("rerun") && rerun()],
            ["c", "cancel (asks)", () => actionNamed("cancel") && act(actionNamed("cancel"))],
          ]),
      ["u", "back to the list", () => location.assign("/tasks")],
    ]);
    return () => html`
      <${Header} />
      <main id="main" class="task-page" tabindex="-1">
        <${Trouble} of=${!goneSince.value && trouble.value} />
        ${
          goneSince.value
            ? html`<${Empty} title="This task is gone"><p><a href="/tasks">All tasks</a></p><//>`
            : told.value && [
                html`<${Head} />`,
                html`<${Tabs} />`,
                html`<div id="panel" role="tabpanel" aria-labelledby=${`tab-${place.tab}`}>
                  <${PARTS[place.tab] || Output} />
                </div>`,
              ]
        }
      </main>
    `;
  },
};

function onChanged({ events }) {
  const ours = (events || []).filter((event) => event.uid === uid);
  if (ours.some((event) => event.kind === "removed")) goneSince.value = true;
  else if (ours.length) loadSoon();
}

mount(TaskPage);
