// An executor: which commands are its own, what can be done with its tasks, and the latest of them.

import { Copy, Empty, Glyph, Header, Status, Time, Took, Trouble, count, following, getJson, html, keys, loading, mount, move, oneLine, onMounted, page, query, size, worthTelling } from "/static/lib.js";

const NAME = page.name;
const { told, trouble, load, loadSoon } = loading(() => getJson(`/executor/${encodeURIComponent(NAME)}.json`), 1000);

const TEACH = { slurm: "qrec run sbatch job.sh", tmux: "qrec run tmux new-session -d make", queue: "qrec queue submit -- make" };
const address = (more = {}) => `/tasks${query({ executor: NAME, ...more })}`;

const CountLinks = () => {
  const { counts } = told.value;
  const names = worthTelling(counts);
  return html`
    <nav class="counts" aria-label="Tasks by status">
      <a href=${address()}>All its tasks</a>
      ${names.map(
        (name) => html`<a key=${name} href=${address({ status: name })} class=${counts[name] ? "" : "none"}><${Glyph} of=${name} />${name} <b>${counts[name] === null ? "" : count(counts[name])}</b></a>`,
      )}
    </nav>
  `;
};

const KINDS = { bool: "yes or no", int: "number", float: "number", str: "text" };

const Actions = () => html`
  <table class="actions">
    <caption class="hidden">Actions</caption>
    <thead>
      <tr><th scope="col">Action</th><th scope="col">What it does</th><th scope="col">Options</th><th scope="col">When the task is</th></tr>
    </thead>
    <tbody>
      ${told.value.actions.map(
        (action) => html`
          <tr key=${action.name}>
            <td class="name"><code>qrec exec ${action.name}</code></td>
            <td class="help">${action.help}</td>
            <td class="options">
              ${
                action.options.length
                  ? html`<ul>${action.options.map((option) => html`<li key=${option.name}><code>--${option.name.replaceAll("_", "-")}</code> <small>${option.help || KINDS[option.kind] || option.kind}</small></li>`)}</ul>`
                  : html`<span class="muted none">–</span>`
              }
            </td>
            <td class="when">${action.always ? "anything" : action.when.map((status) => html`<span key=${status} class="one"><${Status} of=${status} /></span>`)}</td>
          </tr>
        `,
      )}
    </tbody>
  </table>
`;

const Latest = () => html`
  <table class="latest">
    <caption class="hidden">Latest tasks</caption>
    <thead>
      <tr><th scope="col" class="number id"><span aria-hidden="true">#</span><span class="hidden">Number</span></th><th scope="col" class="state">Status</th><th scope="col" class="what">Command</th><th scope="col" class="when">Started</th><th scope="col" class="number duration">Took</th><th scope="col" class="number memory">Memory</th></tr>
    </thead>
    <tbody>
      ${told.value.latest.map(
        (task) => html`
          <tr key=${task.uid} data-uid=${task.uid}>
            <td class="number id">${task.number}</td>
            <td class="state"><${Status} of=${task.status} code=${task.returncode || null} /></td>
            <td class="what"><a class="command" href=${`/tasks/${task.number}`} title=${task.command}>${oneLine(task.command)}</a></td>
            <td class="when"><${Time} at=${task.started} /></td>
            <td class="number duration"><${Took} task=${task} /></td>
            <td class="number memory">${size(task.usage?.memory) || html`<span class="muted">–</span>`}</td>
          </tr>
        `,
      )}
    </tbody>
  </table>
`;

const Executor = {
  setup() {
    keys([
      ["j", "next task", () => move(1)],
      ["k", "task before", () => move(-1)],
    ]);
    following({ tasks: true }, { changed: loadSoon }, loadSoon);
    onMounted(load);
    document.title = `${NAME} · qrec`;
    return () => html`
      <${Header} />
      <main id="main" class="executor-page" tabindex="-1">
        <${Trouble} of=${trouble.value} />
        ${
          told.value &&
          html`
            <div class="head">
              <h1>${NAME}</h1>
              <p>${told.value.help}</p>
              ${told.value.broken && html`<p class="notice bad">${told.value.broken}</p>`}
              <dl class="facts">
                <dt>Takes</dt>
                <dd>
                  ${
                    told.value.pattern
                      ? html`<span class="pattern">commands that match <code>${told.value.pattern}</code><${Copy} text=${told.value.pattern} title="Copy the pattern" /></span>`
                      : NAME === "shell" ? "whatever no other executor takes" : html`nothing by itself; <code>qrec run -e ${NAME}</code> chooses it`
                  }
                </dd>
                <dt>Comes from</dt>
                <dd>${told.value.origin}</dd>
              </dl>
              <${CountLinks} />
            </div>
            <section>
              <h2>Actions</h2>
              ${told.value.actions.length ? html`<${Actions} />` : html`<p class="muted">It offers none.</p>`}
            </section>
            <section>
              <h2>Latest tasks</h2>
              ${
                told.value.latest.length
                  ? html`<${Latest} />`
                  : html`<${Empty} title="No tasks yet" command=${TEACH[NAME] || `qrec run -e ${NAME} -- echo hello`}><p>What it runs is recorded, and shown here.</p><//>`
              }
            </section>
          `
        }
      </main>
    `;
  },
};

mount(Executor);
