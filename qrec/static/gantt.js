// When jobs ran: a line for each slot, a bar for each job, the longest chain bold.  Drag moves it, wheel and + - 0 zoom.
//
//   <${Gantt} timeline=${answer of timeline.json} selected=${uid} onSelect=${uid => ...} onOpen=${bar => ...} />

import { MONTHS, computed, duration, html, onMounted, onUnmounted, reactive, ref } from "/static/lib.js";

const LANE = 28;
const BAR = 20;
const HEAD = 28;
const LETTER = 6.6; // pixels of one in a bar, about
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800];
const NARROWEST = 1.5; // pixels of a bar

const two = (number) => String(number).padStart(2, "0");

export const Gantt = {
  props: ["timeline", "selected", "name"],
  emits: ["select", "open"],
  setup(props, { emit, expose }) {
    const box = ref(null);
    const view = reactive({ width: 800, zoom: 1, from: 0 }); // `from` is where the view begins, as a part of the whole
    const clock = ref(performance.now());
    let arrived = performance.now();
    let seen = null;
    const now = computed(() => {
      if (seen !== props.timeline) [seen, arrived] = [props.timeline, performance.now()];
      return props.timeline.now + Math.max(0, clock.value - arrived) / 1000;
    });
    const running = computed(() => props.timeline.bars.some((bar) => bar.end === null));
    const end = computed(() => (running.value ? now.value : props.timeline.end));
    const span = computed(() => Math.max(end.value - props.timeline.begin, 0.001) * 1.02);
    const margin = computed(() => {
      const longest = Math.max(...props.timeline.lanes.map((lane) => lane.slot.length), 0);
      return Math.min(Math.max(64, longest * 7 + 16), view.width * 0.4);
    });
    const room = computed(() => Math.max(view.width - margin.value - 8, 50));
    const scale = computed(() => (room.value / span.value) * view.zoom); // pixels of a second
    const x = (at) => margin.value + (at - props.timeline.begin) * scale.value - view.from * room.value * view.zoom;
    const critical = computed(() => new Set(props.timeline.critical));

    function place(from) {
      view.from = Math.min(Math.max(0, from), 1 - 1 / view.zoom);
    }
    function zoom(factor, at = margin.value + room.value / 2) {
      const part = Math.max(0, at - margin.value) / room.value;
      const under = view.from + part / view.zoom;
      view.zoom = Math.min(Math.max(1, view.zoom * factor), 5000);
      place(under - part / view.zoom);
    }
    expose({ zoom, showAll: () => Object.assign(view, { zoom: 1, from: 0 }) });

    function onWheel(event) {
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (!sideways && !event.ctrlKey && !event.altKey && view.zoom === 1 && event.deltaY > 0) return; // let the page scroll
      event.preventDefault();
      if (sideways) place(view.from + event.deltaX / (room.value * view.zoom));
      else zoom(Math.exp(-event.deltaY * 0.0016), event.clientX - box.value.getBoundingClientRect().left);
    }
    let grabbed = null;
    let moved = false;
    function onPointerdown(event) {
      if (event.button) return;
      grabbed = event.clientX;
      moved = false;
    }
    function onPointermove(event) {
      if (grabbed === null || (!moved && Math.abs(event.clientX - grabbed) < 4)) return;
      if (!moved) box.value.setPointerCapture(event.pointerId);
      moved = true;
      place(view.from - (event.clientX - grabbed) / (room.value * view.zoom));
      grabbed = event.clientX;
    }
    function onPointerup(event) {
      if (grabbed !== null && !moved) emit("select", event.target.closest?.("[data-uid]")?.dataset.uid ?? null);
      grabbed = null;
    }
    const onPointercancel = () => (grabbed = null); // a touch that became a scroll of the page
    function onKeydown(event) {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const bars = props.timeline.bars;
      const at = bars.findIndex((bar) => bar.uid === props.selected);
      const bar = bars[at];
      let next = null;
      if (event.shiftKey && event.key === "ArrowLeft") place(view.from - 0.1 / view.zoom);
      else if (event.shiftKey && event.key === "ArrowRight") place(view.from + 0.1 / view.zoom);
      else if (event.key === "ArrowRight") next = bars[Math.min(at + 1, bars.length - 1)];
      else if (event.key === "ArrowLeft") next = bars[Math.max(at - 1, 0)];
      else if (event.key === "ArrowDown" || event.key === "ArrowUp") next = beside(bar, event.key === "ArrowDown" ? 1 : -1) || bar || bars[0];
      else if (event.key === "Enter" && bar) emit("open", bar);
      else if (event.key === "Escape" && bar) emit("select", null);
      else return;
      event.preventDefault();
      if (next) emit("select", next.uid);
      if (next && (x(next.start) < margin.value || x(next.start) > view.width)) place((next.start - props.timeline.begin) / span.value - 0.3 / view.zoom);
    }
    function beside(bar, step) {
      if (!bar) return null;
      const lane = props.timeline.bars.filter((one) => one.lane === bar.lane + step);
      return lane.reduce((best, one) => (!best || Math.abs(one.start - bar.start) < Math.abs(best.start - bar.start) ? one : best), null);
    }

    let watcher = null;
    let timer = 0;
    onMounted(() => {
      watcher = new ResizeObserver(() => box.value && (view.width = box.value.getBoundingClientRect().width || view.width));
      watcher.observe(box.value);
      timer = setInterval(() => running.value && !document.hidden && (clock.value = performance.now()), 1000);
    });
    onUnmounted(() => (watcher.disconnect(), clearInterval(timer)));

    // Drawing

    /** Bars that are to be seen; of those that lie in one pixel, one. */
    const shown = computed(() => {
      const reach = {};
      const found = [];
      for (const bar of props.timeline.bars) {
        const from = x(bar.start);
        const to = Math.max(x(bar.end ?? end.value), from + NARROWEST);
        if (to < margin.value || from > view.width) continue;
        const isKept = bar.uid === props.selected || critical.value.has(bar.uid);
        if (!isKept && to - from <= NARROWEST && from < (reach[bar.lane] ?? -1)) continue;
        reach[bar.lane] = from + 1;
        found.push({ bar, from: Math.max(from, margin.value), to: Math.min(to, view.width + 4), cut: from < margin.value });
      }
      return found;
    });
    const ticks = computed(() => {
      const step = STEPS.find((one) => one * scale.value >= 90) || STEPS.at(-1);
      const first = props.timeline.begin + (view.from * room.value * view.zoom) / scale.value;
      const zone = new Date(first * 1000).getTimezoneOffset() * 60;
      const found = [];
      for (let at = Math.ceil((first - zone) / step) * step + zone; x(at) < view.width - 10 && found.length < 60; at += step)
        if (x(at) > margin.value - 1) found.push({ at, label: x(at) > view.width - 48 || Math.abs(x(at) + 20 - x(now.value)) < 46 ? "" : label(at, step) });
      return found;
    });
    function label(at, step) {
      const when = new Date(Math.round(at * 10) * 100); // sums of steps are a little off
      const day = `${when.getDate()} ${MONTHS[when.getMonth()]}`;
      if (step >= 86400) return day;
      const time = `${two(when.getHours())}:${two(when.getMinutes())}`;
      if (step >= 60) return when.getHours() + when.getMinutes() === 0 ? day : time;
      return step >= 1 ? `${time}:${two(when.getSeconds())}` : `${two(when.getSeconds())}.${when.getMilliseconds() / 100}`;
    }
    const yOf = (lane) => HEAD + lane * LANE;
    const words = (bar) => {
      const to = bar.end ?? end.value;
      return `${bar.number} ${bar.label}\n${bar.status}, ${duration(to - bar.start)}${critical.value.has(bar.uid) ? "\non the longest chain" : ""}`;
    };

    const draw = ({ bar, from, to }) => {
      const style = ["bar", bar.status, critical.value.has(bar.uid) && "critical", to - from < 5 && "thin", bar.uid === props.selected && "chosen"];
      const fits = Math.floor((to - from - 10) / LETTER);
      const y = yOf(bar.lane) + (LANE - BAR) / 2;
      return html`
        <g key=${bar.uid} data-uid=${bar.uid} class=${style.filter(Boolean).join(" ")}>
          <title>${words(bar)}</title>
          <rect x=${from} y=${y} width=${Math.max(to - from, NARROWEST)} height=${BAR} rx=${to - from > 6 ? 3 : 0} />
          ${fits >= 2 && html`<text x=${from + 6} y=${y + 14}>${bar.label.length > fits ? `${bar.label.slice(0, fits - 1)}…` : bar.label}</text>`}
        </g>
      `;
    };

    return () => {
      const { lanes } = props.timeline;
      const height = HEAD + lanes.length * LANE + 8;
      const line = x(now.value);
      return html`
        <svg
          ref=${box}
          class="gantt"
          width="100%"
          height=${height}
          tabindex="0"
          role="application"
          aria-label=${`Timeline of ${props.name}: arrow keys go from job to job. The list holds the same as a table.`}
          aria-roledescription="timeline"
          onWheel=${onWheel}
          onPointerdown=${onPointerdown}
          onPointermove=${onPointermove}
          onPointerup=${onPointerup}
          onPointercancel=${onPointercancel}
          onDblclick=${(event) => {
            const bar = props.timeline.bars.find((one) => one.uid === event.target.closest?.("[data-uid]")?.dataset.uid);
            if (bar) emit("open", bar);
          }}
          onKeydown=${onKeydown}
        >
          ${ticks.value.map(
            ({ at, label: told }) => html`
              <g key=${at} class="tick">
                <line x1=${x(at)} x2=${x(at)} y1=${HEAD - 6} y2=${height} />
                <text x=${x(at) + 4} y="16">${told}</text>
              </g>
            `,
          )}
          ${lanes.map(
            (lane, at) => html`
              <g key=${`lane ${at}`} class="lane">
                <line x1="0" x2=${view.width} y1=${yOf(at)} y2=${yOf(at)} />
                <text x="0" y=${yOf(at) + 18}>${lane.slot}</text>
              </g>
            `,
          )}
          ${shown.value.map(draw)}
          ${
            line > margin.value &&
            line < view.width &&
            html`<g class="now"><line x1=${line} x2=${line} y1="4" y2=${height} /><text x=${line - 4} y="14">now</text></g>`
          }
        </svg>
      `;
    };
  },
};
