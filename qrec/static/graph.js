// A graph that the server has laid out, drawn as SVG: drag or arrow keys move it, wheel and + - 0 zoom, a click or the
// arrow keys select.  Of a large graph only what is in view is drawn; from far away, boxes without words.
//
//   <${Graph} graph=${answer of graph.json} selected=${uid} onSelect=${uid => ...} onOpen=${node => ...} />

import { Glyph, computed, count, html, nextTick, onMounted, onUnmounted, reactive, ref, watch } from "/static/lib.js";

const COLUMN = 236;
const ROW = 42;
const WIDTH = 168;
const HEIGHT = 30;
const MARGIN = 24;
const NEAREST = 2;
const WORDS = 0.45; // scale from which on words are drawn
const [LEGIBLE, READ] = [0.6, 0.7]; // from which on they can be read, and at which they are if not all is shown
const BOXES = 0.22; // scale from which on each node is an element of its own
const MOST = 700; // elements of that kind
const LABELS = 60; // words at links
const STEP = 60; // pixels that a key moves the picture

const left = (node) => node.x * COLUMN;
const top = (node) => node.y * ROW;

// Words that fit

const fitted = new Map();
let pen = null;

/** The beginning of a text that is no wider than so many pixels. */
function fit(text, width) {
  const key = `${width} ${text}`;
  if (fitted.has(key)) return fitted.get(key);
  pen ||= document.createElement("canvas").getContext("2d");
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  let shown = text;
  if (pen.measureText(text).width > width) {
    let [least, most] = [0, text.length];
    while (least < most) {
      const middle = Math.ceil((least + most) / 2);
      if (pen.measureText(`${text.slice(0, middle)}…`).width <= width) least = middle;
      else most = middle - 1;
    }
    shown = `${text.slice(0, least)}…`;
  }
  if (fitted.size > 20000) fitted.clear();
  fitted.set(key, shown);
  return shown;
}

// Links

/** The corners of a link: out of its source, through its bends, into its target. */
function corners(link, nodes) {
  const [source, target] = [nodes[link.from], nodes[link.to]];
  const points = [[left(source) + WIDTH, top(source) + HEIGHT / 2]];
  for (const [x, y] of link.bends || []) points.push([x * COLUMN, y * ROW + HEIGHT / 2], [x * COLUMN + WIDTH, y * ROW + HEIGHT / 2]);
  points.push([left(target), top(target) + HEIGHT / 2]);
  return points;
}

function curve(points) {
  let path = `M${points[0][0]} ${round(points[0][1])}`;
  for (let at = 1; at < points.length; at += 1) {
    const [[x0, y0], [x1, y1]] = [points[at - 1], points[at]];
    if (y0 === y1) path += `H${x1}`;
    else path += `C${(x0 + x1) / 2} ${round(y0)} ${(x0 + x1) / 2} ${round(y1)} ${x1} ${round(y1)}`;
  }
  return path;
}

const round = (number) => Math.round(number * 10) / 10;
const straight = (points) => `M${points.map(([x, y]) => `${Math.round(x)} ${Math.round(y)}`).join("L")}`;

/** What says how a link looks: `bad` comes from something that did not complete. */
const styleOf = (link) => `link ${link.kind}${link.kind === "ok" && link.bad ? " bad" : ""}`;

export const Graph = {
  props: ["graph", "selected", "name"],
  emits: ["select", "open"],
  setup(props, { emit, expose }) {
    const box = ref(null);
    const view = reactive({ x: 0, y: 0, k: 1, width: 800, height: 400 });
    const dragged = ref(false);
    const byUid = computed(() => new Map(props.graph.nodes.map((node) => [node.uid, node])));
    const size = computed(() => ({ width: props.graph.columns * COLUMN - (COLUMN - WIDTH), height: props.graph.rows * ROW }));
    const paths = computed(() =>
      props.graph.links.map((link) => {
        const points = corners(link, props.graph.nodes);
        const ys = points.map(([, y]) => y);
        return { link, points, box: [points[0][0], Math.min(...ys), points.at(-1)[0], Math.max(...ys)], path: null };
      }),
    );
    const far = computed(() => view.k < BOXES || inView(props.graph.nodes, nodeIsIn).length > MOST);

    // What is in view, with a margin

    const bounds = () => [view.x - WIDTH, view.y - ROW, view.x + view.width / view.k + WIDTH, view.y + view.height / view.k + ROW];
    const inView = (all, isIn) => {
      const edges = bounds();
      return all.filter((one) => isIn(one, edges));
    };
    const nodeIsIn = (node, [x0, y0, x1, y1]) => {
      const [x, y] = [left(node), top(node)];
      return x + WIDTH >= x0 && x <= x1 && y + HEIGHT >= y0 && y <= y1;
    };
    const linkIsIn = ({ box: [a0, b0, a1, b1] }, [x0, y0, x1, y1]) => Math.max(a0, a1) >= x0 && Math.min(a0, a1) <= x1 && b1 >= y0 && b0 <= y1;

    // Moving

    const within = (k) => Math.min(NEAREST, Math.max(smallest(), k));
    const smallest = () => Math.min(0.2, view.width / (size.value.width + 80), view.height / (size.value.height + 80));
    function zoom(factor, x = view.width / 2, y = view.height / 2) {
      const k = within(view.k * factor);
      view.x += x / view.k - x / k;
      view.y += y / view.k - y / k;
      view.k = k;
    }
    function showAll() {
      const k = Math.min(1, (view.width - 2 * MARGIN) / size.value.width, (view.height - 2 * MARGIN) / size.value.height);
      view.k = Math.max(k, 0.005);
      view.x = size.value.width / 2 - view.width / view.k / 2;
      view.y = size.value.height / 2 - view.height / view.k / 2;
    }
    /** The beginning of the graph at a size that can be read, if all of it cannot. */
    function begin() {
      showAll();
      if (view.k >= LEGIBLE || props.graph.nodes.length > 3 * MOST) return;
      view.k = READ;
      view.x = -MARGIN / view.k;
      const high = view.height / view.k;
      view.y = size.value.height < high ? (size.value.height - high) / 2 : -MARGIN / view.k;
    }
    function reveal(node, closer = false) {
      if (!node) return;
      if (closer && view.k < WORDS) view.k = 0.8;
      const [x, y] = [left(node), top(node)];
      const [w, h] = [view.width / view.k, view.height / view.k];
      const pad = Math.min(40, w / 8);
      if (x < view.x + pad || x + WIDTH > view.x + w - pad) view.x = x + WIDTH / 2 - w / 2;
      if (y < view.y + pad || y + HEIGHT > view.y + h - pad) view.y = y + HEIGHT / 2 - h / 2;
    }
    /** Move no farther than it takes to see all of a node. */
    function keep(node) {
      const [x, y] = [left(node), top(node)];
      const [w, h] = [view.width / view.k, view.height / view.k];
      const pad = Math.min(MARGIN, w / 8);
      view.x = Math.min(Math.max(view.x, x + WIDTH + pad - w), x - pad);
      view.y = Math.min(Math.max(view.y, y + HEIGHT + pad - h), y - pad);
    }
    expose({ showAll, zoom, reveal: (uid) => reveal(byUid.value.get(uid)) });

    const pointers = new Map();
    let from = null;
    function onPointerdown(event) {
      if (event.button) return;
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      from = [event.clientX, event.clientY];
      dragged.value = false;
      box.value.focus({ preventScroll: true });
    }
    function onPointermove(event) {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const now = [event.clientX, event.clientY];
      if (pointers.size === 2) pinch(event.pointerId, before, now);
      else if (dragged.value || Math.hypot(now[0] - from[0], now[1] - from[1]) > 4) {
        if (!dragged.value) box.value.setPointerCapture(event.pointerId);
        dragged.value = true;
        view.x -= (now[0] - before[0]) / view.k;
        view.y -= (now[1] - before[1]) / view.k;
      } else return;
      pointers.set(event.pointerId, now);
    }
    function pinch(id, before, now) {
      const [, other] = [...pointers].find(([one]) => one !== id);
      const edge = box.value.getBoundingClientRect();
      const factor = Math.hypot(now[0] - other[0], now[1] - other[1]) / (Math.hypot(before[0] - other[0], before[1] - other[1]) || 1);
      dragged.value = true;
      zoom(factor, (now[0] + other[0]) / 2 - edge.left, (now[1] + other[1]) / 2 - edge.top);
    }
    function onPointerup(event) {
      if (!pointers.delete(event.pointerId)) return;
      if (!dragged.value && !pointers.size) emit("select", at(event)?.uid ?? null);
      if (!pointers.size) dragged.value = false;
    }
    function onPointercancel(event) {
      pointers.delete(event.pointerId);
      if (!pointers.size) dragged.value = false;
    }
    function onWheel(event) {
      event.preventDefault();
      const edge = box.value.getBoundingClientRect();
      const lines = event.deltaMode === 1 ? 20 : 1;
      zoom(Math.exp(-event.deltaY * lines * 0.0016), event.clientX - edge.left, event.clientY - edge.top);
    }
    /** The node under a pointer. */
    function at(event) {
      const edge = box.value.getBoundingClientRect();
      const [x, y] = [view.x + (event.clientX - edge.left) / view.k, view.y + (event.clientY - edge.top) / view.k];
      return props.graph.nodes.find((node) => x >= left(node) && x <= left(node) + WIDTH && y >= top(node) && y <= top(node) + HEIGHT);
    }

    // Keys

    const chosen = computed(() => byUid.value.get(props.selected));
    const neighbours = (node, ahead) => {
      const place = props.graph.nodes.indexOf(node);
      const found = props.graph.links.filter((link) => (ahead ? link.from : link.to) === place);
      return found.map((link) => props.graph.nodes[ahead ? link.to : link.from]);
    };
    const nearest = (nodes, to) => nodes.reduce((best, node) => (!best || distance(node, to) < distance(best, to) ? node : best), null);
    const distance = (node, to) => Math.abs(node.y - to.y) + 4 * Math.abs(node.x - to.x);
    const STEPS = {
      ArrowRight: (node) => nearest(neighbours(node, true), node),
      ArrowLeft: (node) => nearest(neighbours(node, false), node),
      ArrowUp: (node) => nearest(props.graph.nodes.filter((one) => Math.abs(one.x - node.x) < 0.5 && one.y < node.y), node),
      ArrowDown: (node) => nearest(props.graph.nodes.filter((one) => Math.abs(one.x - node.x) < 0.5 && one.y > node.y), node),
    };
    const PANS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    function onKeydown(event) {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const { key } = event;
      if (PANS[key] && event.shiftKey) {
        view.x += (PANS[key][0] * STEP) / view.k;
        view.y += (PANS[key][1] * STEP) / view.k;
      } else if (STEPS[key]) {
        const next = chosen.value ? STEPS[key](chosen.value) : nearest(inView(props.graph.nodes, nodeIsIn), { x: view.x / COLUMN, y: view.y / ROW }) || props.graph.nodes[0];
        if (next) emit("select", next.uid);
        reveal(next);
      } else if (key === "Enter" && chosen.value) emit("open", chosen.value);
      else if (key === "Escape" && chosen.value) emit("select", null);
      else return;
      event.preventDefault();
    }

    // Size

    let watcher = null;
    let begun = false;
    function measure() {
      if (!box.value) return;
      const { width, height } = box.value.getBoundingClientRect();
      if (!width || !height) return;
      Object.assign(view, { width, height });
      if (begun) {
        if (chosen.value) keep(chosen.value); // what is told of it takes room
        return;
      }
      begun = true;
      begin();
      if (chosen.value) reveal(chosen.value, true);
    }
    onMounted(() => {
      watcher = new ResizeObserver(measure);
      watcher.observe(box.value);
      measure();
    });
    onUnmounted(() => watcher.disconnect());
    // Another part of the graph is looked at from its beginning; the same one stays where it is.
    watch(
      () => [props.graph.focus, props.graph.hops, props.graph.key].join(),
      () => nextTick(() => (begin(), chosen.value && reveal(chosen.value))),
    );

    // Drawing

    const overview = computed(() => {
      const boxes = {};
      for (const node of props.graph.nodes)
        boxes[node.status] = `${boxes[node.status] || ""}M${Math.round(left(node))} ${Math.round(top(node))}h${WIDTH}v${HEIGHT}h-${WIDTH}z`;
      const lines = {};
      for (const { link, points } of paths.value) lines[styleOf(link)] = (lines[styleOf(link)] || "") + straight(points);
      return { boxes: Object.entries(boxes), lines: Object.entries(lines) };
    });

    const drawFar = () => html`
      <g>
        ${overview.value.lines.map(([style, path]) => html`<path key=${style} class=${`${style} thin`} d=${path} />`)}
        ${overview.value.boxes.map(([status, path]) => html`<path key=${status} class=${`boxes ${status}`} d=${path} />`)}
        ${chosen.value && html`<rect class="around" x=${left(chosen.value) - 6} y=${top(chosen.value) - 6} width=${WIDTH + 12} height=${HEIGHT + 12} />`}
      </g>
    `;

    function drawNear() {
      const place = props.graph.nodes.indexOf(chosen.value);
      const touches = ({ link }) => place >= 0 && (link.from === place || link.to === place);
      const links = inView(paths.value, linkIsIn);
      const [plain, lit] = [links.filter((one) => !touches(one)), links.filter(touches)];
      const told = view.k < WORDS ? [] : worded(links);
      return html`
        <g>
          ${[...plain, ...lit].map((one) => {
            one.path ||= curve(one.points);
            const isLit = touches(one);
            const end = one.link.bad && one.link.kind === "ok" ? "bad" : isLit ? "lit" : "plain";
            return html`<path
              key=${`${one.link.from} ${one.link.to}`}
              class=${`${styleOf(one.link)}${isLit ? " lit" : ""}`}
              d=${one.path}
              marker-end=${view.k >= WORDS ? `url(#arrow-${end})` : null}
            />`;
          })}
          ${told.length <= LABELS && told.map(drawWords)}
          ${inView(props.graph.nodes, nodeIsIn).map(drawNode)}
        </g>
      `;
    }

    /** Of the links that need words and end at the same node, the flattest for each word. */
    function worded(links) {
      const found = new Map();
      const steep = ({ points }) => Math.abs(points.at(-1)[1] - points.at(-2)[1]);
      for (const one of links) {
        if (!one.link.bad) continue;
        const key = `${one.link.to} ${one.link.bad}`;
        if (!found.has(key) || steep(one) < steep(found.get(key))) found.set(key, one);
      }
      return [...found.values()];
    }

    function drawWords({ link, points }) {
      const [[x0, y0], [x1, y1]] = points.slice(-2);
      return html`<text key=${`w${link.from} ${link.to}`} class=${styleOf(link)} x=${(x0 + x1) / 2} y=${(y0 + y1) / 2 + 3}>${link.bad}</text>`;
    }

    function drawNode(node) {
      const words = view.k >= WORDS;
      const style = ["node", node.status, node.count && "group", node.outside && "outside", node.uid === props.selected && "chosen"];
      return html`
        <g key=${node.uid} data-uid=${node.uid} class=${style.filter(Boolean).join(" ")} transform=${`translate(${left(node)} ${top(node)})`}>
          <title>${titleOf(node)}</title>
          ${node.count && html`<rect class="behind" x="4" y="4" width=${WIDTH} height=${HEIGHT} rx="4" />`}
          <rect width=${WIDTH} height=${HEIGHT} rx="4" />
          <${Glyph} of=${node.status} x="8" y="8" width="14" height="14" />
          ${words && html`<text x="28" y="19">${fit(node.label, WIDTH - 36)}</text>`}
        </g>
      `;
    }
    const titleOf = (node) =>
      node.count ? `${node.label}: ${count(node.count)} jobs drawn as one` : `${node.number} ${node.label}\n${node.status}${node.outside ? ", not of this queue" : ""}`;

    const arrow = (name) => html`
      <marker id=${`arrow-${name}`} class=${name} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
        <path d="M0 .8L7 4 0 7.2z" />
      </marker>
    `;

    return () => html`
      <svg
        ref=${box}
        class=${`graph${dragged.value ? " dragged" : ""}`}
        style=${{ "--tall": `${size.value.height + 4 * MARGIN}px` }}
        tabindex="0"
        role="application"
        aria-label=${`Graph of ${props.name}: arrow keys go from job to job. The list holds the same as a table.`}
        aria-roledescription="graph"
        onPointerdown=${onPointerdown}
        onPointermove=${onPointermove}
        onPointerup=${onPointerup}
        onPointercancel=${onPointercancel}
        onDblclick=${(event) => at(event) && emit("open", at(event))}
        onWheel=${onWheel}
        onKeydown=${onKeydown}
      >
        <defs>${["plain", "lit", "bad"].map(arrow)}</defs>
        <g transform=${`scale(${view.k}) translate(${-view.x} ${-view.y})`}>${far.value ? drawFar() : drawNear()}</g>
      </svg>
    `;
  },
};
