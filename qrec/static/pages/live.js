// The machine, and what runs on it now.  It is looked at only while this page is seen.

import {
  Empty,
  Header,
  Icon,
  Time,
  Took,
  Trouble,
  attempt,
  computed,
  confirm,
  count,
  duration,
  getJson,
  html,
  keys,
  loading,
  mount,
  move,
  oneLine,
  onMounted,
  onUnmounted,
  post,
  readOnly,
  reactive,
  ref,
  rowNow,
  shallowRef,
  size,
  socket,
  toast,
  watch,
  whereabouts,
} from "/static/lib.js";

const samples = shallowRef([]);
/** `about`: the machine, and what runs. */
const { told: about, trouble, loadSoon } = loading(async () => {
  const told = await getJson("/live.json");
  const known = (told.columns[0] || []).map((_, at) => Object.fromEntries(told.names.map((name, column) => [name, told.columns[column][at]])));
  const since = samples.value.filter((one) => one.at > (known.at(-1)?.at || 0)); // what came while this was under way
  samples.value = [...known, ...since];
  return told;
}, 1000);
const ranges = [["", "15 min", 900], ["5m", "5 min", 300], ["1m", "1 min", 60]];
const range = ref(new URLSearchParams(location.search).get("range") || "");
const most = computed(() => (ranges.find(([name]) => name === range.value) || ranges[0])[2]);
/** Seconds that the plots show: what is chosen, or as much as is known. */
const span = computed(() => {
  const known = (samples.value.at(-1)?.at || 0) - (samples.value[0]?.at || 0);
  return Math.min(most.value, Math.max(60, Math.ceil(known / 60) * 60));
});
const minutes = (seconds) => `${count(Math.round(seconds / 60))} min ago`;
const since = computed(() => minutes(span.value) + (span.value < most.value ? ", not looked at before" : ""));
const hover = reactive({ at: null }); // the time under the pointer, the same in all plots

function setRange(name) {
  range.value = name;
  history.replaceState(null, "", name ? `/live?range=${name}` : "/live");
}

function onLive(told) {
  about.value = { ...about.value, ...told };
  const oldest = told.sample.at - (about.value.kept || 900);
  samples.value = [...samples.value.filter((one) => one.at > oldest && one.at < told.sample.at), told.sample];
}

// Plots

const WIDTH = 400;
const HEIGHT = 72;
const GAP = 8; // seconds without a look after which a line is broken

/** A small plot: lines of some columns over the last minutes, with what they say under the pointer. */
const Plot = {
  props: ["title", "lines", "most", "format", "each"],
  setup(props) {
    const end = computed(() => samples.value.at(-1)?.at || 0);
    const x = (at) => WIDTH * (1 - (end.value - at) / span.value);
    const shown = computed(() => samples.value.filter((one) => one.at >= end.value - span.value));
    const top = computed(() => {
      if (props.most) return props.most;
      const highest = Math.max(...shown.value.flatMap((one) => props.lines.map(([name]) => one[name] || 0)), 0);
      return nice(highest) || 1;
    });
    const y = (value) => HEIGHT - 1 - (HEIGHT - 4) * Math.min(1, (value || 0) / top.value);
    const path = (name) => {
      let drawn = "";
      let before = null;
      for (const one of shown.value) {
        drawn += `${before !== null && one.at - before < GAP ? "L" : "M"}${x(one.at).toFixed(1)} ${y(one[name]).toFixed(1)}`;
        before = one.at;
      }
      return drawn;
    };
    const area = (name) => {
      const runs = [];
      for (const one of shown.value) {
        if (!runs.length || one.at - runs.at(-1).at(-1).at >= GAP) runs.push([]);
        runs.at(-1).push(one);
      }
      return runs.map((run) => `M${x(run[0].at).toFixed(1)} ${HEIGHT}${run.map((one) => `L${x(one.at).toFixed(1)} ${y(one[name]).toFixed(1)}`).join("")}L${x(run.at(-1).at).toFixed(1)} ${HEIGHT}Z`).join("");
    };
    const under = computed(() => {
      const all = shown.value;
      if (hover.at === null || !all.length) return all.at(-1);
      return all.reduce((best, one) => (Math.abs(one.at - hover.at) < Math.abs(best.at - hover.at) ? one : best));
    });
    const onMove = (event) => {
      const edge = event.currentTarget.getBoundingClientRect();
      hover.at = end.value - span.value * (1 - (event.clientX - edge.left) / edge.width);
    };
    return () => {
      const at = under.value;
      const told = at ? props.lines.map(([name, label]) => `${label ? `${label} ` : ""}${props.format(at[name])}`).join(", ") : "";
      return html`
        <figure class="plot">
          <figcaption>
            <b>${props.title}</b> <span>${told}</span>
            <small>${hover.at !== null && at ? `${duration(Math.max(0, end.value - at.at))} ago` : `of ${props.format(top.value)}`}</small>
          </figcaption>
          <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${`${props.title}: ${told}`} onPointermove=${onMove} onPointerleave=${() => (hover.at = null)}>
            <path class="grid" d=${`M0 ${y(top.value)}H${WIDTH}M0 ${y(top.value / 2)}H${WIDTH}`} />
            ${props.lines.map(
              ([name, , style], place) => html`
                ${place === 0 && html`<path key=${`area ${name}`} class=${`area ${style}`} d=${area(name)} />`}
                <path key=${name} class=${`line ${style}`} d=${path(name)} />
              `,
            )}
            ${hover.at !== null && at && html`<path class="cursor" d=${`M${x(at.at)} 0V${HEIGHT}`} />`}
          </svg>
          <p class="since"><span>${since.value}</span><span>now</span></p>
        </figure>
      `;
    };
  },
};

/** The next number that is easy to read. */
function nice(number) {
  if (number <= 0) return 0;
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= number);
}

/** How many tasks ended in each minute, by how; the store knows of those before anybody looked, too. */
const Ends = () => {
  const end = samples.value.at(-1)?.at || 0;
  const bars = Array.from({ length: 15 }, () => ({ complete: 0, failed: 0, other: 0 }));
  const wide = most.value / 15;
  for (const one of [...(about.value.before || []), ...samples.value]) {
    const at = 14 - Math.max(0, Math.floor((end - one.at) / wide));
    if (at >= 0) for (const name of ["complete", "failed", "other"]) bars[at][name] += one[name] || 0;
  }
  const top = nice(Math.max(...bars.map((bar) => bar.complete + bar.failed + bar.other), 4));
  const total = (name) => bars.reduce((sum, bar) => sum + bar[name], 0);
  const told = `${count(total("complete"))} complete, ${count(total("failed"))} failed${total("other") ? `, ${count(total("other"))} other` : ""}`;
  return html`
    <figure class="plot">
      <figcaption><b>Ended</b> <span>${told}</span> <small>of ${count(top)}</small></figcaption>
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${`Tasks that ended since ${minutes(most.value)}: ${told}`}>
        <path class="grid" d=${`M0 4H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}`} />
        ${bars.map((bar, at) => {
          let high = HEIGHT;
          return [["complete", "complete"], ["failed", "failed"], ["other", "cancelled"]].map(([name, style]) => {
            const tall = ((HEIGHT - 4) * bar[name]) / top;
            high -= tall;
            return tall > 0 && html`<rect key=${`${at} ${name}`} class=${style} x=${(at * WIDTH) / 15 + 2} y=${high} width=${WIDTH / 15 - 4} height=${tall} />`;
          });
        })}
      </svg>
      <p class="since"><span>${minutes(most.value)}</span><span>now</span></p>
    </figure>
  `;
};

// The machine

const percent = (number) => `${Math.round(number || 0)} %`;
const rate = (bytes) => (bytes >= 1 ? `${size(bytes)}/s` : "0");

const Machine = () => {
  const told = about.value;
  const last = samples.value.at(-1) || {};
  const facts = [
    ["CPU", `${percent(last.cpu)} of ${count(told.cores)} cores`],
    ["Memory", `${size(last.memory)} of ${size(told.memory_total)}`],
    told.disk && ["Disk", `${size(told.disk.free)} free of ${size(told.disk.total)}`],
    ["Load", told.load.map((one) => one.toFixed(2)).join("  ")],
    ["Up", duration(told.up)],
  ].filter(Boolean);
  return html`
    <dl class="machine">
      ${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
  `;
};

// What runs

async function cancel(task) {
  const sure = await confirm({ title: `Cancel task ${task.number}?`, code: task.command, facts: whereabouts([task]), action: "Cancel the task", danger: true });
  if (!sure) return;
  const told = await attempt(() => post(`/api/tasks/${task.uid}/cancel`, {}));
  if (told) toast(told.pending ? "Asked to end." : "Cancelled.");
}

const Row = (props) => {
  const { task } = props;
  return html`
    <tr data-uid=${task.uid}>
      <td class="number id">${task.number}</td>
      <td class="what">
        <a class="command" href=${`/tasks/${task.number}`} title=${task.command}>${oneLine(task.name || task.command)}</a>
        ${task.queue && html`<a class="tag" href=${`/queues/${encodeURIComponent(task.queue)}`} title="Its queue">${task.queue}</a>`}
      </td>
      <td class="last"><samp title=${task.line || null}>${task.line || html`<span class="muted">–</span>`}</samp></td>
      <td class="number cpu">${task.cpu === null ? html`<span class="muted">–</span>` : percent(100 * task.cpu)}</td>
      <td class="number memory">${size(task.memory) || html`<span class="muted">–</span>`}</td>
      <td class="number duration"><${Took} task=${task} /></td>
      <td class="when"><${Time} at=${task.started} /></td>
      ${
        !readOnly &&
        html`<td class="act">
          <button class="plain" title="Cancel" aria-label=${`Cancel task ${task.number}`} onClick=${() => cancel(task)}><${Icon} name="stop" /></button>
        </td>`
      }
    </tr>
  `;
};
Row.props = ["task"];

const Running = () => {
  const { running, count: number } = about.value;
  if (!running.length)
    return html`<${Empty} title="Nothing runs now" command="qrec run -- sleep 60"><p>What runs is shown here with what it uses and the last line that it printed.</p><//>`;
  return html`
    <table class="running">
      <caption class="hidden">Running tasks</caption>
      <thead>
        <tr>
          <th scope="col" class="number id"><span aria-hidden="true">#</span><span class="hidden">Number</span></th>
          <th scope="col" class="what">Command</th>
          <th scope="col" class="last">Last line</th>
          <th scope="col" class="number cpu">CPU</th>
          <th scope="col" class="number memory">Memory</th>
          <th scope="col" class="number duration">Running</th>
          <th scope="col" class="when">Began</th>
          ${!readOnly && html`<th scope="col" class="act"><span class="hidden">Actions</span></th>`}
        </tr>
      </thead>
      <tbody>
        ${running.map((task) => html`<${Row} key=${task.uid} task=${task} />`)}
      </tbody>
    </table>
    ${number > running.length && html`<p class="muted">${count(running.length)} of ${count(number)} are shown; <a href="/tasks?status=running">all of them</a></p>`}
  `;
};

const taskNow = () => about.value?.running.find((task) => task.uid === rowNow()?.dataset.uid);

const Live = {
  setup() {
    keys([
      ["j", "next task", () => move(1)],
      ["k", "task before", () => move(-1)],
      ...(readOnly ? [] : [["c", "cancel the task (asks)", () => taskNow() && cancel(taskNow())]]),
    ]);
    let stop = null;
    const follow = () => {
      if (document.hidden) {
        stop?.();
        stop = null;
      } else if (!stop) {
        stop = socket.watch({ live: true });
        loadSoon();
      }
    };
    const stops = [];
    onMounted(() => {
      stops.push(socket.on("live", onLive), socket.onResync(loadSoon));
      document.addEventListener("visibilitychange", follow);
      follow();
    });
    onUnmounted(() => {
      stops.forEach((one) => one());
      document.removeEventListener("visibilitychange", follow);
      stop?.();
    });
    const titled = computed(() => (about.value?.count ? `(${count(about.value.count)}) ` : ""));
    watch(titled, (number) => (document.title = `${number}Live · qrec`), { immediate: true });
    return () => html`
      <${Header} />
      <main id="main" class="live-page" tabindex="-1">
        <${Trouble} of=${trouble.value} />
        ${
          about.value &&
          html`
            <div class="title">
              <h1>${about.value.host}</h1>
              <div class="ranges" role="group" aria-label="Range of the plots">
                ${ranges.map(([name, label]) => html`<button key=${name} aria-pressed=${most.value === ranges.find(([one]) => one === name)[2] ? "true" : "false"} onClick=${() => setRange(name)}>${label}</button>`)}
              </div>
            </div>
            <${Machine} />
            <div class="plots">
              <${Plot} title="CPU" lines=${[["cpu", "", "run"]]} most=${100} format=${percent} />
              <${Plot} title="Memory" lines=${[["memory", "", "accent"]]} most=${about.value.memory_total} format=${size} />
              <${Plot} title="Disk" lines=${[["read", "read", "run"], ["written", "written", "wait"]]} format=${rate} />
              <${Ends} />
            </div>
            <h2>Running now <span class="muted">${count(about.value.count)}</span></h2>
            <${Running} />
            <p class="foot muted">Looked at each ${about.value.each || 2} s while this page is seen, and else not at all.</p>
          `
        }
      </main>
    `;
  },
};

mount(Live);
