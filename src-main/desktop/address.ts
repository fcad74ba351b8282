// The app's own address, atelier://app/: the built interface and pictures by id, with the same containment and the same
// headers as over HTTP. file:// is never used.
import { protocol, session } from 'electron';
import { fileForWindow, securityHeaders } from '../host/files-for-windows.ts';
import type { PictureShelf } from '../host/picture-shelf.ts';

const scheme = 'atelier';
export const appOrigin = `${scheme}://app`;

/** Whether `url` is a page of the app. (`URL.origin` is null for schemes that are not the web's own.) */
export function isOwnPage(url: string): boolean {
  const parsed = URL.parse(url);
  return parsed !== null && `${parsed.protocol}//${parsed.host}` === appOrigin;
}

/** Must be called before the app is ready. */
export function declareAddress(): void {
  protocol.registerSchemesAsPrivileged([
    { scheme, privileges: { standard: true, secure: true, supportFetchAPI: true, codeCache: true } },
  ]);
}

/** Answers the address from the built interface in `rendererFolder` and the pictures of the shelf of that moment. */
export function answerAddress(rendererFolder: string, shelf: () => PictureShelf): void {
  session.defaultSession.protocol.handle(scheme, async (request) => {
    const url = new URL(request.url);
    const file =
      url.host === 'app' && request.method === 'GET'
        ? await fileForWindow(url.pathname, rendererFolder, shelf())
        : undefined;
    if (file === undefined) return new Response('There is nothing at this address.\n', { status: 404 });
    const headers = { ...securityHeaders, 'Content-Type': file.type };
    return new Response(new Uint8Array(file.bytes), { headers });
  });
}
