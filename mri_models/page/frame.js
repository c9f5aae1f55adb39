// The whole page's manners: comes with the foot, as its `element`, because that is on every tab.

// Gradio's own page of the API would be a reload, which loses the answer; the tab About has what a program needs.
element.addEventListener('click', ({ target }) => {
  if (!target.closest('button')) return;
  [...document.querySelectorAll('[role=tab]')].find((tab) => tab.textContent.trim() === 'About').click();
  const show = (tries) => {
    const heading = [...document.querySelectorAll('.mri-prose h2')].find((h2) => h2.textContent.startsWith('Call it'));
    if (heading?.offsetParent) heading.scrollIntoView();
    else if (tries) requestAnimationFrame(() => show(tries - 1));
  };
  show(120);
});

// Arrows walk the tabs, as screen readers tell their users.
document.addEventListener('keydown', (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const list = step && event.target.closest?.('[role=tab]') && event.target.closest('[role=tablist]');
  if (!list) return;
  const tabs = [...list.querySelectorAll('[role=tab]')];
  const next = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
  event.preventDefault();
  next.click();
  next.focus();
});

let groups = 0;
function mend() {
  // What scrolls must be reachable by keyboard; Markdown leaves no place to say so.
  document.querySelectorAll('.mri-prose pre, .mri-prose table').forEach((box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute('tabindex');
  });
  // Gradio names every radio button for itself, so that none of them knows its group: one stop of Tab, then arrows.
  document.querySelectorAll('fieldset').forEach((group) => {
    group.dataset.radios ??= `radios-${groups += 1}`;
    group.querySelectorAll('input[type=radio]').forEach((radio) => { radio.name = group.dataset.radios; });
  });
}

let asked = 0;
const soon = () => { asked ||= requestAnimationFrame(() => { asked = 0; mend(); }); };
new ResizeObserver(soon).observe(document.body);
new MutationObserver(soon).observe(document.body, { childList: true, subtree: true });
