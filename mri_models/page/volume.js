// Three planes on 2D canvases from one 8-bit NIfTI inside the page; NiiVue (WebGL2) is loaded when it is asked for.
// `element` and `watch` come from gr.HTML. Axes run towards the left, the back or the feet: see types/volume.py.
const HEADER = 352;
const SIDES = { axial: ['P', 'L'], sagittal: ['I', 'P'], coronal: ['I', 'L'] }; // rows, columns of each plane
let shown = null;

async function unpacked(base64) {
  const packed = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).arrayBuffer();
}

const numbers = (text) => text.split(',').map(Number);

async function open() {
  const view = element.querySelector('.vol-view');
  if (!view || view === shown?.view) return;
  const [volume, mask] = await Promise.all([
    unpacked(view.dataset.volume),
    view.dataset.mask ? unpacked(view.dataset.mask) : null,
  ]);
  const shape = numbers(view.dataset.shape);
  shown = {
    view, volume, mask, shape, axes: view.dataset.axes, spacing: numbers(view.dataset.spacing),
    strides: [shape[1] * shape[2], shape[2], 1], at: shape.map((side) => side >> 1), viewer: null,
    planes: [...view.querySelectorAll('.vol-plane')],
  };
  shown.planes.forEach(connect);
  view.querySelectorAll('[data-mode]').forEach((button) => button.addEventListener('click', () => switchTo(button)));
  view.querySelectorAll('[data-label], [data-strength]').forEach((input) => input.addEventListener('input', redraw));
  redraw();
  view.dataset.ready = 'true';
}

function connect(figure) {
  const { axes, shape, spacing, at } = shown;
  const [rows, columns] = SIDES[figure.dataset.plane].map((letter) => axes.indexOf(letter));
  const axis = Number(figure.dataset.axis);
  const canvas = figure.querySelector('canvas');
  const wide = shape[columns] * spacing[columns], high = shape[rows] * spacing[rows];
  const finest = Math.min(spacing[columns], spacing[rows]); // square pixels, so that the cross is thin both ways
  canvas.width = Math.round(wide / finest);
  canvas.height = Math.round(high / finest);
  figure.slice = Object.assign(document.createElement('canvas'), { width: shape[columns], height: shape[rows] });
  canvas.parentElement.style.setProperty('--ratio', (wide / high).toFixed(4));
  figure.sides = { axis, rows, columns };
  figure.querySelector('input').addEventListener('input', ({ target }) => { at[axis] = Number(target.value); redraw(); });
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    at[columns] = bounded((event.clientX - box.left) / box.width, shape[columns]);
    at[rows] = bounded((event.clientY - box.top) / box.height, shape[rows]);
    redraw();
  };
  canvas.addEventListener('pointerdown', point);
  canvas.addEventListener('pointermove', (event) => { if (event.buttons) point(event); });
}

const bounded = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));

function colours() {
  const strength = Number(shown.view.querySelector('[data-strength]')?.value ?? 0);
  const table = [];
  shown.view.querySelectorAll('[data-label]').forEach((box) => {
    if (box.checked) table[Number(box.dataset.label)] = numbers(box.dataset.colour);
  });
  return { strength, table };
}

function redraw() {
  const overlay = colours();
  shown.planes.forEach((figure) => draw(figure, overlay));
  if (shown.viewer) tint(shown.viewer, overlay);
}

function draw(figure, { strength, table }) {
  const { shape, strides, at, volume, mask } = shown;
  const { axis, rows, columns } = figure.sides;
  const grey = new Uint8Array(volume, HEADER), label = mask && new Uint8Array(mask, HEADER);
  const canvas = figure.querySelector('canvas'), context = canvas.getContext('2d'), drawing = figure.slice.getContext('2d');
  const image = drawing.createImageData(shape[columns], shape[rows]), pixels = image.data;
  let target = 0;
  for (let row = 0; row < shape[rows]; row += 1) {
    let source = at[axis] * strides[axis] + row * strides[rows];
    for (let column = 0; column < shape[columns]; column += 1, source += strides[columns], target += 4) {
      const colour = label && table[label[source]], value = grey[source];
      for (let channel = 0; channel < 3; channel += 1) {
        pixels[target + channel] = colour ? value + (colour[channel] - value) * strength : value;
      }
      pixels[target + 3] = 255;
    }
  }
  drawing.putImageData(image, 0, 0);
  context.imageSmoothingQuality = 'high';
  context.drawImage(figure.slice, 0, 0, canvas.width, canvas.height);
  cross(context, canvas, (at[columns] + 0.5) / shape[columns], (at[rows] + 0.5) / shape[rows]);
  figure.querySelector('input').value = at[axis];
  const { count, step } = figure.dataset;
  figure.querySelector('output').textContent = `${Math.min(at[axis] * step + 1, count)} of ${count}`;
}

function cross(context, canvas, x, y) {
  context.strokeStyle = 'rgba(119, 195, 205, .55)';
  context.lineWidth = Math.max(1, canvas.width / 400);
  context.beginPath();
  context.moveTo(x * canvas.width, 0); context.lineTo(x * canvas.width, canvas.height);
  context.moveTo(0, y * canvas.height); context.lineTo(canvas.width, y * canvas.height);
  context.stroke();
}

async function switchTo(button) {
  const { view } = shown, wanted = button.dataset.mode;
  view.querySelectorAll('[data-mode]').forEach((other) => other.setAttribute('aria-pressed', String(other === button)));
  view.querySelector('.vol-planes').hidden = wanted !== 'planes';
  view.querySelector('.vol-viewer').hidden = wanted !== 'viewer';
  if (wanted === 'viewer' && !shown.viewer) await start(view.querySelector('.vol-viewer'));
}

async function start(panel) {
  const say = (words) => { panel.querySelector('p').textContent = words; };
  if (!document.createElement('canvas').getContext('webgl2')) {
    panel.querySelector('canvas').hidden = true;
    say('This browser offers no WebGL2, which the 3D viewer needs. The three planes show the same volume.');
    return;
  }
  say('Loading the viewer …');
  try {
    await script();
    const { niivue } = window, here = shown;
    const viewer = new niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.47, 0.76, 0.8, 1], crosshairWidth: 0.6, dragAndDropEnabled: false,
      isRadiologicalConvention: true, sagittalNoseLeft: true, loadingText: '', show3Dcrosshair: true,
    });
    await viewer.attachToCanvas(panel.querySelector('canvas'));
    viewer.opts.multiplanarShowRender = niivue.SHOW_RENDER.ALWAYS;
    viewer.setSliceType(panel.clientWidth < 600 ? viewer.sliceTypeRender : viewer.sliceTypeMultiplanar);
    const layers = [{ url: local(here.volume), name: 'volume.nii', colormap: 'gray' }];
    if (here.mask) layers.push({ url: local(here.mask), name: 'mask.nii', opacity: 0.45 });
    await viewer.loadVolumes(layers);
    layers.forEach(({ url }) => URL.revokeObjectURL(url));
    here.viewer = viewer;
    tint(viewer, colours());
    panel.dataset.ready = 'true';
    say('Drag in the last picture to turn it, in the others to move through the slices. Viewer: NiiVue.');
  } catch (error) {
    say('The 3D viewer could not start here. The three planes show the same volume.');
  }
}

const local = (buffer) => URL.createObjectURL(new Blob([buffer]));

function tint(viewer, { strength, table }) {
  const mask = viewer.volumes[1];
  if (!mask) return;
  const values = [...Array(1 + Math.max(...[...shown.view.querySelectorAll('[data-label]')].map((box) => +box.dataset.label))).keys()];
  const channel = (i) => values.map((value) => table[value]?.[i] ?? 0);
  mask.setColormapLabel({
    R: channel(0), G: channel(1), B: channel(2), A: values.map((value) => (table[value] ? 255 : 0)), labels: values.map(() => ''),
  });
  viewer.setOpacity(1, strength);
  viewer.updateGLVolume();
}

function script() {
  window.niivueLoading ??= new Promise((resolve, reject) => {
    const tag = document.createElement('script');
    tag.src = new URL('viewer/niivue.js', document.baseURI);
    tag.onload = resolve;
    tag.onerror = () => { window.niivueLoading = null; reject(new Error('not loaded')); };
    document.head.append(tag);
  });
  return window.niivueLoading;
}

document.addEventListener('vol-slice', ({ detail }) => {
  if (!shown || !element.contains(shown.view)) return;
  const figure = shown.planes[0], { axis } = figure.sides;
  shown.at[axis] = Math.min(shown.shape[axis] - 1, Math.floor((detail - 1) / Number(figure.dataset.step)));
  switchTo(shown.view.querySelector('[data-mode="planes"]'));
  redraw();
});
watch('value', open);
open();
