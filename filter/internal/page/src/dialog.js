// The one dialog, which asks for what an action needs.

// inquire shows a title, a text and fields [{name, label, ...attributes}], and calls then with what was entered.
function inquire({ title, text, fields = [], action = 'OK', then, danger }) {
  const dialog = byId('dialog');
  render(dialog, []);
  render(dialog, h('form', { method: 'dialog', onsubmit: event => {
      event.preventDefault();
      const values = Object.fromEntries(new FormData(event.target));
      dialog.close();
      then?.(values);
    } },
    h('h2', { id: 'dialog-title' }, title),
    text && h('p', {}, text),
    fields.map(({ label, tag = 'input', ...attributes }) => h('label', {}, label, h(tag, { autocomplete: 'off', spellcheck: 'false', ...attributes }))),
    h('div', { class: 'row end' },
      h('button', { type: 'button', onclick: () => dialog.close() }, then ? 'Cancel' : 'Close'),
      then && h('button', { class: danger ? 'danger' : 'primary' }, action))));
  dialog.showModal();
}

// signIn asks for a token, and returns whether there is one then; wrong is what was wrong with the last.
function signIn(wrong) {
  inquire({
    title: 'Admin token', text: wrong || 'Changes need a token of those whose hashes stand in the configuration. It is kept until this tab is closed.',
    fields: [{ name: 'token', label: 'Token', type: 'password', required: true }],
    action: 'Sign in', then: values => { setToken(values.token.trim()); draw(); },
  });
  // That the dialog before this one was closed is told only now, when this one is open.
  return new Promise(done => { byId('dialog').onclose = () => { if (!byId('dialog').open) done(!!token.value); }; });
}

const signOut = () => { setToken(''); say('Signed out.'); draw(); };
