// The Explore tab's slider: every number, line and dot below it follows. `element` comes from gr.HTML.
// data-stage holds counts by truth, answer and threshold; data-box says where values stand in a plot.
const percent = (value, digits = 1) => (Number.isFinite(value) ? `${(100 * value).toFixed(digits)}%` : '–');
const sum = (values) => values.reduce((total, value) => total + value, 0);
const grouped = (value) => value.toLocaleString('en-US');

function place(mark, x, y) {
  const [left, top, width, height, x0, x1, y0, y1] = mark.closest('svg').dataset.box.split(',').map(Number);
  const across = left + width * Math.min(1, Math.max(0, (x - x0) / (x1 - x0)));
  if (y === undefined) {
    mark.setAttribute('x1', across);
    mark.setAttribute('x2', across);
  } else {
    const known = Number.isFinite(x) && Number.isFinite(y);
    mark.setAttribute('cx', known ? across : -99);
    mark.setAttribute('cy', known ? top + height * (1 - (y - y0) / (y1 - y0)) : -99);
  }
}

function show(panel, k) {
  if (panel.packed !== panel.dataset.stage) { // Gradio keeps the element when another model is chosen
    panel.packed = panel.dataset.stage;
    panel.stage = JSON.parse(panel.packed);
  }
  const { cells, columns, total, correct, low, high, truths } = panel.stage;
  const at = (truth, answer) => cells[truth][answer][k];
  const accepted = sum(cells.map((row) => sum(columns.map((answer) => row[answer][k]))));
  const right = sum(columns.map((answer) => at(answer, answer)));
  const [coverage, accuracy] = [accepted / total, accepted ? right / accepted : NaN];
  const between = low[k] === null ? 'too few for an interval'
    : low[k] === high[k] ? 'no patient disagrees'
    : `95% interval ${percent(low[k], 0).slice(0, -1)} to ${percent(high[k], 0)}`;
  const said = {
    threshold: (k / 100).toFixed(2), coverage: percent(coverage), accuracy: percent(accuracy),
    wrong: grouped(accepted - right), withheld: grouped(correct - right),
  };
  for (const [name, text] of Object.entries(said)) panel.querySelector(`[data-out="${name}"]`).textContent = text;
  panel.querySelector('[data-out="accepted"] b').textContent = grouped(accepted);
  panel.querySelector('[data-out="interval"] b').textContent = between;
  panel.querySelector('input[type=range]').setAttribute(
    'aria-valuetext', `${said.threshold}: ${said.coverage} answered, ${said.accuracy} of them right`);
  panel.querySelectorAll('[data-at]').forEach((line) => place(line, k / 100));
  panel.querySelectorAll('[data-cell]').forEach((cell) => {
    const [truth, answer] = cell.dataset.cell.split(',').map(Number);
    cell.textContent = at(truth, answer);
    cell.style.setProperty('--p', at(truth, answer) / Math.max(1, truths[truth]));
  });
  panel.querySelectorAll('[data-rest]').forEach((cell) => {
    const truth = Number(cell.dataset.rest);
    cell.textContent = truths[truth] - sum(cells[truth].map((answer) => answer[k]));
  });
  panel.querySelectorAll('[data-dot]').forEach((dot) => {
    if (dot.dataset.dot === 'risk') {
      place(dot, coverage, 1 - accuracy);
      dot.closest('figure').querySelector('.mon-legend b').textContent = percent(1 - accuracy);
      return;
    }
    const answer = Number(dot.dataset.dot);
    const others = sum(cells.map((row) => row[answer][k])) - at(answer, answer);
    place(dot, others / Math.max(1, sum(truths) - truths[answer]), at(answer, answer) / Math.max(1, truths[answer]));
  });
}

element.addEventListener('input', ({ target }) => {
  const panel = target.closest('.exp-answers');
  if (panel && target.type === 'range') show(panel, Number(target.value));
});
element.addEventListener('click', ({ target }) => {
  const button = target.closest('[data-k]');
  if (!button) return;
  const panel = button.closest('.exp-answers');
  panel.querySelector('input[type=range]').value = button.dataset.k;
  show(panel, Number(button.dataset.k));
});
