// What no page of the app may do, whatever it is talked into: leave its address, open windows, embed others, or be given a
// permission. https://www.electronjs.org/docs/latest/tutorial/security, items 5 and 11 to 14.
import { app, session } from 'electron';
import { isOwnPage } from './address.ts';

/** The interface copies texts, such as the diagnostics, after a click; it reads nothing back. */
const allowed = 'clipboard-sanitized-write';

/** Forbids it for every page that is ever made; once, when the app is ready. */
export function lockDown(): void {
  const { defaultSession } = session;
  defaultSession.setPermissionRequestHandler((_, permission, decide, { requestingUrl }) => {
    decide(permission === allowed && isOwnPage(requestingUrl));
  });
  defaultSession.setPermissionCheckHandler((_, permission, origin) => permission === allowed && isOwnPage(origin));
  defaultSession.setDevicePermissionHandler(() => false);
  app.on('web-contents-created', (_, contents) => {
    contents.setWindowOpenHandler(() => ({ action: 'deny' }));
    const refuse = (event: { readonly preventDefault: () => void }): void => {
      event.preventDefault();
    };
    contents.on('will-navigate', refuse);
    contents.on('will-frame-navigate', refuse);
    contents.on('will-redirect', refuse);
    contents.on('will-attach-webview', refuse);
  });
}
