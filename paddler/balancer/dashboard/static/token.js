/* Asks for the management token, once the balancer has refused. */
import { hasToken, useToken } from './api.js';
import { byId, setText, show } from './dom.js';

/** @returns {Promise<void>} when there is another token */
export function askForToken() {
  const form = /** @type {HTMLFormElement} */ (byId('token'));
  const input = /** @type {HTMLInputElement} */ (byId('tokenin'));
  setText(byId('tokenno'), hasToken() ? 'The balancer did not take this token.' : '');
  show(form, true);
  input.focus();
  return new Promise(resolve => {
    form.onsubmit = event => {
      event.preventDefault();
      const token = input.value.trim();
      // A header can't hold anything else.
      if (!/^[\x21-\x7e]+$/.test(token)) {
        setText(byId('tokenno'), token ? 'A token has only letters, digits and signs.' : 'Enter the token.');
        return;
      }
      useToken(token);
      input.value = '';
      show(form, false);
      resolve();
    };
  });
}
