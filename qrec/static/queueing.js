// What the pages of queues share.

import { Glyph, count, html, worthTelling } from "/static/lib.js";

const BAR = ["complete", "failed", "lost", "cancelled", "skipped", "running", "submitted", "queued"];

/** How a queue stands, as a shape and words. */
export function stateOf(queue) {
  const { counts = {}, workers = [], left, total, paused } = queue;
  const going = (counts.running || 0) + (counts.submitted || 0);
  if (paused) return ["blocked", going ? "paused, some still run" : "paused"];
  if (going) return ["running", "running"];
  if (left) return ["queued", workers.length ? "waiting" : "waiting for a worker"];
  if (!total) return ["queued", "empty"];
  const bad = total - (counts.complete || 0);
  return bad ? ["failed", "not all complete"] : ["complete", "complete"];
}

/** How far it is, as a bar. */
export const Progress = (props) => {
  const { counts = {}, total } = props.queue;
  if (!total) return null;
  let at = 0;
  const parts = BAR.filter((name) => counts[name]).map((name) => {
    const part = { name, x: at, width: (100 * counts[name]) / total };
    at += part.width;
    return part;
  });
  const over = total - (props.queue.left || 0);
  const words = `${count(over)} of ${count(total)} over: ${BAR.filter((name) => counts[name]).map((name) => `${count(counts[name])} ${name}`).join(", ")}`;
  return html`
    <svg class="progress" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label=${words}>
      <title>${words}</title>
      ${parts.map(({ name, x, width }) => html`<rect key=${name} class=${name} x=${x} y="0" width=${width} height="6" />`)}
    </svg>
  `;
};
Progress.props = ["queue"];

/** The counts by status, each a link: <Counts queue=${queue} current=${status} link=${status => attributes} />. */
export const Counts = (props) => {
  const { counts = {}, total } = props.queue;
  const names = worthTelling(counts, props.current);
  return html`
    <nav class="counts" aria-label="Jobs by status" aria-live="polite">
      <a ...${props.link("")} aria-current=${props.current === "" ? "true" : null}>All <b>${count(total)}</b></a>
      ${names.map(
        (name) => html`
          <a key=${name} ...${props.link(props.current === name ? "" : name)} class=${counts[name] ? "" : "none"} aria-current=${props.current === name ? "true" : null}>
            <${Glyph} of=${name} />${name} <b>${count(counts[name])}</b>
          </a>
        `,
      )}
    </nav>
  `;
};
Counts.props = ["queue", "current", "link"];
