// The app without a window of its own: the host of the windows and a web server for them, started and ended together.
import { join } from 'node:path';
import { EngineClient } from '../client/engine-client.ts';
import { bundledExpertPaths, bundledModelPath, rendererFolder } from '../host/bundled-files.ts';
import { WindowHost } from '../host/window-host.ts';
import { removeForgottenFiles } from './dropped-files.ts';
import { startWebServer, type WebServer } from './web-server.ts';

export interface ServeOptions {
  readonly client: EngineClient;
  /** Where finished pictures are written; the queue and dropped files lie in its folder `.atelier`. Absolute. */
  readonly folder: string;
  /** IP address to listen on; every other than 127.0.0.1 or ::1 lets other machines in. */
  readonly address: string;
  readonly port: number;
  readonly version: string;
}

/** Serves until `close`. Throws FolderInUseError when another process draws into `folder`, Node's error for a taken port. */
export async function serve({ client, folder, address, port, version }: ServeOptions): Promise<WebServer> {
  const stateFolder = join(folder, '.atelier');
  const trainingClient = new EngineClient();
  const host = await WindowHost.open({
    client,
    trainingClient,
    folder,
    stateFolder,
    version,
    place: 'browser',
    model: bundledModelPath(),
    bundled: bundledExpertPaths(),
  });
  const dropFolder = join(stateFolder, 'dropped');
  // What it could not remove it tries again at the next start.
  removeForgottenFiles(dropFolder, stateFolder, Date.now()).catch(() => undefined);
  try {
    const server = await startWebServer({
      host,
      rendererFolder: rendererFolder(),
      dropFolder,
      address,
      port,
    });
    return {
      ...server,
      close: async () => {
        await server.close();
        await host.close();
        await trainingClient.close();
      },
    };
  } catch (error) {
    await host.close();
    throw error;
  }
}
