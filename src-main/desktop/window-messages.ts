// Carries messages between the window and the host over Electron's IPC. A message counts only when it comes from the top
// frame of our own window at our own address; what it says is checked by the host. Messages that come before the host is open
// wait for it.
import { ipcMain, type BrowserWindow } from 'electron';
import type { FromHost } from '../contract/window.ts';
import type { WindowHost } from '../host/window-host.ts';
import { isOwnPage } from './address.ts';
import { taskbarProgress } from './taskbar.ts';

/** Connects `window` to the host until the window is closed. When `hosting` fails, that is its caller's to tell. */
export function connectWindow(window: BrowserWindow, hosting: Promise<WindowHost>): void {
  const { webContents } = window;
  const showProgress = taskbarProgress(window);
  const send = (message: FromHost): void => {
    if (message.kind === 'news') showProgress(message.news);
    if (!webContents.isDestroyed()) webContents.send('from-host', message);
  };
  const connected = hosting.then(
    (host) => ({ host, detach: host.attach(send) }),
    () => undefined,
  );
  const receive = ({ senderFrame }: Electron.IpcMainEvent, message: unknown): void => {
    const ours = senderFrame !== null && senderFrame === webContents.mainFrame && isOwnPage(senderFrame.url);
    if (ours) void connected.then((connection) => connection?.host.receive(message, send));
  };
  ipcMain.on('to-host', receive);
  window.once('closed', () => {
    ipcMain.off('to-host', receive);
    void connected.then((connection) => connection?.detach());
  });
}
