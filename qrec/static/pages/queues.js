// All queues, and how each stands.

import { Empty, Header, Status, Time, Trouble, count, duration, following, getJson, html, keys, loading, mount, move, onMounted } from "/static/lib.js";
import { Progress, stateOf } from "/static/queueing.js";

const { told: queues, trouble, load, loadSoon } = loading(async () => (await getJson("/queues.json")).queues, 500);

const address = (queue) => `/queues/${encodeURIComponent(queue.name)}`;
const SHOWN = ["running", "submitted", "queued", "failed", "cancelled", "skipped", "lost", "complete"];

const Row = (props) => {
  const { queue } = props;
  const { counts, workers } = queue;
  const [shape, told] = stateOf(queue);
  const hosts = [...new Set(workers.map((one) => one.host))].join(", ");
  return html`
    <tr data-name=${queue.name}>
      <td class="name">
        <a href=${address(queue)}>${queue.name}</a>
        <p class="phone-only"><${Status} of=${shape} word=${told} /></p>
      </td>
      <td class="state"><${Status} of=${shape} word=${told} /></td>
      <td class="far"><${Progress} queue=${queue} /></td>
      <td class="told">
        ${SHOWN.filter((name) => counts[name]).map((name) => html`<span key=${name} class=${name}><b>${count(counts[name])}</b> ${name}</span>`)}
        ${!queue.total && html`<span class="muted">no jobs</span>`}
      </td>
      <td class="workers" title=${hosts}>${workers.length ? `${count(workers.length)} on ${hosts}` : html`<span class="muted">none</span>`}</td>
      <td class="number slots">${count(queue.slots)}</td>
      <td class="number rest">${queue.seconds_left ? duration(queue.seconds_left) : html`<span class="muted">–</span>`}</td>
      <td class="when"><${Time} at=${queue.created} /></td>
    </tr>
  `;
};
Row.props = ["queue"];

const Table = () => html`
  <table class="queues">
    <caption class="hidden">Queues</caption>
    <thead>
      <tr>
        <th scope="col" class="name">Queue</th>
        <th scope="col" class="state">State</th>
        <th scope="col" class="far">How far</th>
        <th scope="col" class="told">Jobs</th>
        <th scope="col" class="workers">Workers</th>
        <th scope="col" class="number slots">Slots</th>
        <th scope="col" class="number rest">Left</th>
        <th scope="col" class="when">Made</th>
      </tr>
    </thead>
    <tbody>
      ${queues.value.map((queue) => html`<${Row} key=${queue.name} queue=${queue} />`)}
    </tbody>
  </table>
`;

const Queues = {
  setup() {
    keys([
      ["j", "next queue", () => move(1)],
      ["k", "queue before", () => move(-1)],
    ]);
    following({ tasks: true }, { changed: loadSoon }, loadSoon);
    onMounted(load);
    document.title = "Queues · qrec";
    return () => html`
      <${Header} />
      <main id="main" class="queues-page" tabindex="-1">
        <h1>Queues</h1>
        <${Trouble} of=${trouble.value} />
        ${
          queues.value &&
          (queues.value.length
            ? html`<${Table} />`
            : html`<${Empty} title="No queues yet" command="qrec queue submit -- make">
                <p>A queue holds commands that wait for each other, or for a free slot. The first job makes it; <code>qrec queue run</code> works it off.</p>
              <//>`)
        }
      </main>
    `;
  },
};

mount(Queues);
